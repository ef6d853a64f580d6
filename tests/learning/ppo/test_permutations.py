"""Orders of the rows of a batch."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mtquant_jax.learning.ppo import update
from mtquant_jax.learning.ppo.update import permutations


@pytest.mark.parametrize("size", [1, 2, 500, 2000, 4096])
def test_each_is_an_order_of_all_rows(size):
    found = np.asarray(permutations(jax.random.key(0), 3, size))
    assert found.shape == (3, size)
    np.testing.assert_array_equal(np.sort(found, axis=-1), np.tile(np.arange(size), (3, 1)))


def test_every_row_stands_everywhere_equally_often():
    size, count = 6, 24_000
    found = np.asarray(permutations(jax.random.key(1), count, size))
    often = np.stack([(found == row).sum(axis=0) for row in range(size)])
    np.testing.assert_allclose(often, count / size, rtol=0.08)  # five standard deviations
    pairs = (found[:, :-1] == 0) & (found[:, 1:] == 1)  # one row after another: (size - 1) / (size (size - 1))
    assert pairs.sum() == pytest.approx(count / size, rel=0.08)


def test_batches_too_large_for_that_are_ordered_too(monkeypatch):
    monkeypatch.setattr(update, "_LARGEST_ORDER", 4)
    found = np.asarray(permutations(jax.random.key(0), 2, 50))
    np.testing.assert_array_equal(np.sort(found, axis=-1), np.tile(np.arange(50), (2, 1)))
    assert not np.array_equal(found[0], found[1])
