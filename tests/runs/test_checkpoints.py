"""A training goes on from any checkpoint bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.learning.train import train_chunk
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs.trained_run import open_checkpoint, open_run


@pytest.fixture(scope="module")
def quick(synthetic_run):
    """The quick run and its market."""
    run = open_run(synthetic_run)
    return run, prepare_market(run.config)


@pytest.mark.parametrize(("phase", "name", "first"), [(1, "commodities", 500), (2, "", 0), (3, "", 0)])
def test_training_goes_on_from_a_checkpoint_bit_for_bit(quick, phase, name, first):
    before, after = (open_checkpoint(*quick, phase, timesteps, name) for timesteps in (first, first + 500))
    plan, state = before.plan, before.state
    assert int(state.update) == first // 250
    for _ in range(2):  # as the run did, chunk by chunk
        state, _ = train_chunk(plan.program, state, plan.env_params, plan.hyper, jnp.int32(1))
    expected = after.state
    for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(expected), strict=True):
        if jax.dtypes.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(ours, theirs, err_msg=jax.tree_util.keystr(path))


def test_what_is_not_there_is_named(quick):
    with pytest.raises(UserError, match="has no specialist 'crypto'; it has forex, commodities, equity"):
        open_checkpoint(*quick, 1, 500, "crypto")
    with pytest.raises(UserError, match=r"checkpoint_123/forex.* does not exist"):
        open_checkpoint(*quick, 1, 123, "forex")
