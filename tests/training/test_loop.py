"""The host loop: chunk lengths, going on from a checkpoint, and many runs of the phase programs."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import load_config
from mtquant_jax.training import phases
from mtquant_jax.training.loop import chunks, flat_metrics


@pytest.mark.parametrize(
    ("total_updates", "per_update", "save_freq", "expected"),
    [
        (50, 2000, 10_000, [(5, True)] * 10),  # the default
        (4, 250, 500, [(1, False), (1, True)] * 2),  # the quick test
        (3, 100, 10_000, [(1, False), (1, False), (1, True)]),  # only the end is saved
        (7, 300, 1000, [(1, False)] * 3 + [(1, True)] + [(1, False)] * 2 + [(1, True)]),  # 1000 is passed at 1200
        (2, 2000, 500, [(1, True), (1, True)]),  # several multiples in one update are one checkpoint
    ],
)
def test_chunks_follow_the_checkpoints(total_updates, per_update, save_freq, expected):
    assert chunks(total_updates, per_update, save_freq) == expected


@pytest.mark.parametrize("total_updates", [1, 9, 37, 1000])
def test_chunks_cover_the_training_in_at_least_ten_rows_where_it_has_so_many_updates(total_updates):
    lengths = chunks(total_updates, 64, 10**9)
    assert sum(length for length, _ in lengths) == total_updates
    assert len(lengths) >= min(10, total_updates)
    assert lengths[-1][1]


def test_metrics_of_several_agents_carry_their_names():
    metrics = {"reward": np.array([1.0, 2.0, 3.0]), "conflict": np.array([0.0, 1.0]), "truncated": np.array(0.5)}
    assert flat_metrics(metrics, ["forex", "equity", "meta"]) == {
        "reward/forex": 1.0,
        "reward/equity": 2.0,
        "reward/meta": 3.0,
        "conflict/forex": 0.0,
        "conflict/equity": 1.0,
        "truncated": 0.5,
    }


@pytest.fixture(scope="module")
def quick():
    """The settings and the market of a quick run."""
    config, _ = load_config(["--quick-test"])
    return config, prepare_market(config)


def start(plan):
    return start_training(plan.program, *plan.start_arguments)


@pytest.mark.slow
def test_phase_programs_run_many_times_without_hanging(quick):
    # Batched LAPACK in a compiled program can deadlock two cores once in a few executions (learning.md): there is none.
    config, market = quick
    specialists = [phases.start_specialist(config, market, i) for i in range(3)]
    plans = [
        phases.plan_specialist(config, market, 0),
        phases.plan_meta(config, market, specialists),
        phases.plan_joint(config, market, specialists, phases.start_meta(config, market)),
    ]
    for plan in plans:
        state = start(plan)
        text = train_chunk.lower(plan.program, state, plan.env_params, plan.hyper, jnp.int32(1)).as_text()
        assert "lapack" not in text.lower()
        for _ in range(12):
            state, metrics = train_chunk(plan.program, state, plan.env_params, plan.hyper, jnp.int32(1))
        assert int(state.update) == 12
        assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())


def test_phase_3_starts_with_the_ratio_at_one_and_no_distance_from_phase_1(quick):
    config, market = quick
    specialists = [phases.start_specialist(config, market, i) for i in range(3)]
    plan = phases.plan_joint(config, market, specialists, phases.start_meta(config, market))
    _, metrics = train_chunk(plan.program, start(plan), plan.env_params, plan.hyper, jnp.int32(1))
    assert float(jnp.max(metrics["first_ratio_deviation"])) < 2e-6
    assert float(jnp.max(jnp.abs(metrics["first_approximate_kl"]))) < 1e-6
    assert float(metrics["reference_kl"][-1]) == 0.0  # the meta-controller is on no leash
    assert np.all(np.abs(np.asarray(metrics["gradient_cosine"])) <= 1.0)


def test_specialists_learn_only_every_few_updates_in_phase_3(quick):
    config, market = quick
    joint = dataclasses.replace(config.joint_training, specialist_update_interval=5)
    config = dataclasses.replace(config, phase3_timesteps=2000, joint_training=joint)
    specialists = [phases.start_specialist(config, market, i) for i in range(3)]
    plan = phases.plan_joint(config, market, specialists, phases.start_meta(config, market))
    state = start(plan)
    changed = {"specialists": [], "meta": []}
    for _ in range(6):
        before = jax.tree.map(np.asarray, state.params)
        state, _ = train_chunk(plan.program, state, plan.env_params, plan.hyper, jnp.int32(1))
        for group, marks in changed.items():
            pairs = zip(jax.tree.leaves(before[group]), jax.tree.leaves(state.params[group]), strict=True)
            marks.append(any(not np.array_equal(a, b) for a, b in pairs))
    assert changed["specialists"] == [True, False, False, False, False, True]
    assert changed["meta"] == [True] * 6


def test_phase_2_discounts_by_decision(quick):
    config, market = quick
    specialists = [phases.start_specialist(config, market, i) for i in range(3)]
    plan = phases.plan_meta(config, market, specialists)
    assert float(plan.hyper.gamma) == pytest.approx(config.ppo.gamma**config.meta_controller.interval, rel=1e-5)
    assert float(plan.env_params.discount) == pytest.approx(config.ppo.gamma)


def test_totals_are_rounded_up_to_whole_updates(quick):
    config, _ = quick
    assert phases.updates_for(dataclasses.replace(config, phase1_timesteps=1001), 1) == math.ceil(1001 / 250) == 5
    assert phases.updates_for(dataclasses.replace(config, num_envs=3), 1) == math.ceil(1000 / 75)
