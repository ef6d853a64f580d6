"""A training that diverges: what counts, what is said of it, and that it stops at once with its last good policy."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtquant_jax as mt
from mtquant_jax.errors import UserError
from mtquant_jax.simulation.reward import REWARDS, log_growth
from mtquant_jax.training.divergence import (
    LARGEST_KL,
    Diverged,
    refuse_without_slope,
    rejected_updates,
    symptom,
    too_many,
)
from mtquant_jax.training.observer import Member
from mtquant_jax.training.phases import specialist_env

AGENTS = ("forex", "meta_controller")
HEALTHY = {
    "reward": np.array(0.01),
    "approximate_kl": np.array([0.02, 200.0]),  # a hundred times the default learning rate, and not lost yet
    "gradient_norm/specialists": np.array([2e6, 1.0]),
    "curriculum": np.array(np.nan),  # nobody looks at it
}
PARAMS = {"specialist": {"kernel": np.ones((2, 3)), "none": np.zeros(0)}}


def member(phase: int = 3, name: str = "portfolio") -> Member:
    return Member(phase, 0, 7, name, SimpleNamespace(agents=AGENTS), validate=None)


@pytest.mark.parametrize(
    ("metrics", "params", "agent", "text"),
    [
        ({}, {}, "", ""),
        ({"reward": np.array(np.nan)}, {}, "portfolio", "reward is not a number"),
        (
            {"approximate_kl": np.array([0.1, 2.0 * LARGEST_KL])},
            {},
            "meta_controller",
            "moved the policy by 2e+03 nats",
        ),
        ({"approximate_kl": np.array([np.inf, 0.1])}, {}, "forex", "approximate_kl is not a number"),
        ({"gradient_norm/meta": np.array(np.nan)}, {}, "portfolio", "gradient_norm/meta is not a number"),
        ({}, {"more": np.array([1.0, np.nan])}, "portfolio", "a parameter of the networks is nan"),
        ({}, {"more": np.array([1.0, -2e6])}, "portfolio", "a parameter of the networks is 2e+06"),
    ],
)
def test_what_is_divergence(metrics, params, agent, text):
    found = symptom(HEALTHY | metrics, PARAMS | params, member())
    assert (found is None) == (not text)
    assert found is None or (found.agent == agent and text in found.text)


def test_rejected_updates_are_counted_and_too_many_are_divergence():
    metrics = {"rejected_updates": np.float32(2 / 3)}  # mean over three updates
    assert (rejected_updates(metrics, 3), rejected_updates({}, 3)) == (2, 0)
    assert too_many(2, 2, 9, member()) is None
    assert too_many(3, 2, 9, member()).text == (
        "3 updates were rejected, for gradients were no numbers, and at most 2 may be (`ppo.max_rejected_updates`, or "
        "half of all)"
    )
    assert too_many(1, 3, 1, member()).text.startswith("an update was rejected")
    assert too_many(2, 3, 4, member()) is None and too_many(3, 3, 4, member()) is not None


def test_a_training_goes_on_after_a_rejected_update_and_stops_after_too_many(monkeypatch):
    from mtquant_jax.training import runner

    plain, calls = runner.Runner.run, []

    def sick(self, updates):
        """Every second chunk says that one of its updates was rejected."""
        metrics = plain(self, updates)
        calls.append(updates)
        rejected = np.float32(len(calls) % 2 == 0) / updates
        return [{**of_member, "rejected_updates": rejected} for of_member in metrics]

    monkeypatch.setattr(runner.Runner, "run", sick)
    config = mt.load_config(quick_test=True, phases="1", save_freq=10_000)
    seen = []
    mt.train(config, on_chunk=seen.append)
    assert [progress.rejected_updates for progress in seen if progress.member.name == "forex"] == [0, 1, 0, 1]
    calls.clear()
    with pytest.raises(Diverged, match=r"forex of seed 0 diverged in update.* of 4: 2 updates were rejected"):
        mt.train(dataclasses.replace(config, ppo=dataclasses.replace(config.ppo, max_rejected_updates=1)))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "`specialists.forex.learning_rate` 0.001: lower it, and then `ppo.max_grad_norm`"),
        ({"specialists.forex.learning_rate": 10.0}, "`specialists.forex.learning_rate` 10 (default 0.001): lower it"),
        ({"ppo.max_grad_norm": 1e4}, "`ppo.max_grad_norm` 10000 (default 2): lower it"),
        ({"ppo.initial_log_std": 2.5}, "`ppo.initial_log_std` 2.5 (default 0): lower it"),
        ({"ppo.entropy_weight": 50.0}, "`ppo.entropy_weight` 50 (default 0): lower it"),
        ({"algorithm": "pathwise"}, "`pathwise.learning_rate` 0.004: lower it, and then `pathwise.max_grad_norm`"),
        (
            {"algorithm": "pathwise_ppo", "pathwise.learning_rate": 4.0},
            "`pathwise.learning_rate` 4 (default 0.004): lower it",
        ),
        (
            {"phase1_algorithm": "pathwise", "pathwise.max_grad_norm": 1e4},
            "`pathwise.max_grad_norm` 10000 (default 1): lower it",
        ),
    ],
)
def test_the_setting_most_likely_at_fault_is_named(changes, key):
    one = member(1, "forex")
    found = symptom({"entropy": np.array([np.nan])}, PARAMS, one)
    error = Diverged(found, one, "update 2 of 9", 250, None).blaming(mt.load_config(**changes))
    assert str(error).startswith(
        "phase 1: forex of seed 7 diverged in update 2 of 9: entropy is not a number. Most lik"
    )
    assert f"at fault is {key}. The policy after 250 timesteps was good" in str(error)


def test_rewards_that_are_no_numbers_are_the_markets_fault():
    one = member(1, "forex")
    error = Diverged(symptom({"reward": np.array([np.nan])}, PARAMS, one), one, "update 1 of 9", 0, None)
    assert "look for a price, spread or contract specification" in str(error.blaming(mt.load_config()))


def test_a_training_without_any_gradient_is_refused():
    one = member(1, "forex")
    zero = {"gradient_norm/specialist": np.zeros(1)}
    with pytest.raises(UserError, match=r"phase 1: forex of seed 7 learns nothing: .* `algorithm` ppo, which needs"):
        refuse_without_slope(zero, one)
    for fine in ({}, zero | {"rejected_updates": np.ones(1)}, zero | {"gradient_norm/meta": np.full(1, 1e-9)}):
        refuse_without_slope(fine, one)


@pytest.mark.slow
def test_pathwise_refuses_a_reward_without_a_slope(monkeypatch):
    def sign(memory, inputs, params):
        memory, reward = log_growth(memory, inputs, params)
        return memory, jnp.sign(reward)

    monkeypatch.setitem(REWARDS, "log_growth", sign)
    config = mt.load_config(quick_test=True, phases="1", seed=3, **{"reward.objective": "log_growth"})
    specialist_env.cache_clear()  # it would hand out the environment of the real reward
    try:
        with pytest.raises(UserError, match="forex of seed 3 learns nothing: its gradients are all zero"):
            mt.train(dataclasses.replace(config, algorithm="pathwise"))
        mt.train(config)
    finally:
        specialist_env.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_a_training_that_diverges_stops_at_once_with_its_last_good_policy(parallel):
    config = mt.load_config(
        quick_test=True, parallel=parallel, phases="1", save_freq=10_000,
        **{"specialists.equity.learning_rate": 1000.0, "ppo.anneal_learning_rate": False},
        **{"ppo.max_rejected_updates": 0},
    )  # fmt: skip
    seen = []
    with pytest.raises(
        Diverged, match=r"equity of seed 0 diverged in update 1 of 4: .*equity\.learning_rate` 1000"
    ) as error:
        mt.train(config, on_chunk=seen.append)
    assert error.value.timesteps == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.value.policy.params))
    assert [progress.timesteps for progress in seen if progress.member.name == "equity"] == [250]


def test_the_update_that_diverged_is_found_inside_a_chunk(monkeypatch):
    """The first chunk is of three updates here, and the learning rate only ruins the policy in the last of them."""
    from mtquant_jax.training import divergence, loop

    config = mt.load_config(quick_test=True, phases="1", phase1_timesteps=750, save_freq=10_000, parallel=False)
    monkeypatch.setattr(loop, "_CHUNKS_PER_TRAINING", 1)
    healthy, calls = divergence.symptom, []

    def third_update(metrics, params, member):
        calls.append(member.name)
        count = 3 if len(calls) == 1 else len(calls) - 1  # updates that the state has seen: the chunk, then one by one
        sick = count >= 3
        return divergence.Symptom(member.name, "is sick", False) if sick else healthy(metrics, params, member)

    monkeypatch.setattr(loop, "symptom", third_update)
    with pytest.raises(Diverged, match="diverged in update 3 of 3: is sick"):
        mt.train(dataclasses.replace(config, num_envs=10))
    assert calls[:1] == ["forex"] and len(calls) > 3
