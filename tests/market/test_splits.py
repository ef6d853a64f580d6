"""Train, validation and test ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtquant_jax.errors import UserError
from mtquant_jax.market.splits import split


def test_the_default_split_of_the_default_market():
    splits = split(6000, 0.70, 0.15, 250, 500, 240)
    assert splits.train == (240, 4200)
    assert splits.validation == (4450, 5100)
    assert splits.test == (5350, 6000)


@given(st.integers(300, 20_000), st.floats(0.1, 0.8), st.floats(0.05, 0.5), st.integers(0, 300), st.integers(1, 900))
def test_splits_are_ordered_with_gaps_or_refused(num_bars, train, validation, gap, episode):
    try:
        splits = split(num_bars, train, validation, gap, episode, warm_up=min(gap, 100))
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert splits.train[1] + gap == splits.validation[0]
    assert splits.validation[1] + gap == splits.test[0]
    assert splits.test[1] == num_bars
    assert splits.train[1] - splits.train[0] >= episode + 2
    assert min(splits.validation[1] - splits.validation[0], splits.test[1] - splits.test[0]) >= 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1000, 0.7, 0.15, 250, 500, 240), "Of 1000 bars 460 are left for training after 240 bars of warm-up, but an"),
        (
            (1000, 0.7, 0.15, 250, 300, 240),
            "Of 1000 bars 0 are left for the validation after a gap of 250 bars, but 50",
        ),
        ((2000, 0.7, 0.15, 251, 300, 240), "Of 2000 bars 49 are left for the validation"),
        ((2000, 0.65, 0.20, 251, 300, 240), "Of 2000 bars 49 are left for the test"),
        ((6000, 0.7, 0.15, 100, 500, 240), "--market.gap-bars 100: must be at least 240"),
        ((6000, 0.7, 0.30, 250, 500, 240), "leave a part of the bars for the test"),
        ((6000, 0.0, 0.30, 250, 500, 240), "--market.train-fraction 0"),
    ],
)
def test_what_is_too_short_is_said_with_numbers(arguments, message):
    with pytest.raises(UserError) as error:
        split(*arguments)
    assert message in str(error.value)
