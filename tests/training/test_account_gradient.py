"""The gradient of a whole window against finite differences in float64, where neither rounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.learning.contract import Program, TrainState
from mtquant_jax.learning.pathwise.learner import _differentiable, window_gradients
from mtquant_jax.learning.rollout import collect
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import override_config
from mtquant_jax.simulation.market_params import class_params, portfolio_params
from mtquant_jax.training import phases

SETTINGS: dict[str, Any] = {
    "quick_test": True,
    "algorithm": "pathwise",
    "pathwise.num_envs": 4,
    "pathwise.window": 24,
    "simulation.episode_length": 10,  # every episode ends and begins anew within the window
}
EPS, TOLERANCE = 1e-6, 1e-6  # step, and relative error of central differences; measured 1e-10 to 5e-8


def double(tree: Any) -> Any:
    """Floating-point leaves in float64."""

    def leaf(x: Any) -> Any:
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(leaf, tree)


def noise(params: Any, seed: int, size: float) -> Any:
    """Random numbers in the shape of parameters; none for the scale of trades, which is not learnt."""
    generator = np.random.default_rng(seed)

    def leaf(path: Any, x: Any) -> Any:
        drawn = generator.normal(size=x.shape) * size
        return jnp.asarray(drawn if "log_trade_scale" not in jax.tree_util.keystr(path) else 0.0 * drawn, x.dtype)

    return jax.tree_util.tree_map_with_path(leaf, params)


@jax.jit
def added(params: Any, direction: Any, factor: float) -> Any:
    return jax.tree.map(lambda p, d: p + factor * d, params, direction)


class Windows:
    """A program's window: its gradients and its losses, compiled once for all markets of one shape."""

    def __init__(self, plan: phases.Plan, streams: list[tuple[float, ...]]) -> None:
        program = plan.program
        moving = dataclasses.replace(program, env=_differentiable(program.env))

        def losses(params: Any, state: TrainState, market: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            _, done = collect(moving, dataclasses.replace(state, params=params), market, explores=False)
            earned = jnp.mean(done.reward, axis=(0, 1))
            ends = {"terminated": done.terminated, "truncated": done.truncated}
            return jnp.stack([-jnp.sum(jnp.asarray(weights) * earned) for weights in streams]), done.metrics | ends

        self.program: Program = program
        self.losses = jax.jit(losses)
        self.gradients = jax.jit(lambda state, market: window_gradients(program, state, market, streams)[0])

    def agree(self, plan: phases.Plan, market: Any, size: float) -> dict[str, float]:
        """Compare along three directions; what happened in the window, by name: means of its metrics."""
        start = added(plan.start.params, noise(plan.start.params, 1, size), 1.0)
        arguments = double((start, plan.start.normalizers, {}, market))
        state = self.program.learner.start(self.program, *arguments, plan.key)
        gradients = self.gradients(state, arguments[-1])
        for seed in range(3):
            direction = noise(state.params, seed, 1.0)
            plus, minus = (
                self.losses(added(state.params, direction, sign * EPS), state, arguments[-1])[0] for sign in (1, -1)
            )
            along = [
                sum(float(jnp.sum(g * d)) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
                for gradient in gradients
            ]
            np.testing.assert_allclose((plus - minus) / (2.0 * EPS), along, rtol=TOLERANCE)
            assert np.all(np.abs(along) > 1e-4)
        _, happened = self.losses(state.params, state, arguments[-1])
        return {name: float(jnp.mean(values)) for name, values in happened.items()}


@pytest.mark.slow
def test_the_gradient_of_a_window_on_real_bars(real_data: Path) -> None:
    config = override_config(None, {**SETTINGS, "data_dir": str(real_data)})
    market = prepare_market(config)
    plan = phases.plan_specialist(config, market, 0)
    tight = {"risk.halving_loss": 2e-4, "risk.reduction_loss": 4e-4, "risk.flattening_loss": 8e-4}
    with jax.enable_x64(True):
        windows = Windows(plan, [(1.0,)])

        def happened(**changes: Any) -> dict[str, float]:
            changed = override_config(None, {**SETTINGS, "data_dir": str(real_data), **changes})
            return windows.agree(plan, class_params(changed, market, 0), size=0.3)

        usual = happened()
        assert usual["costs"] > 0.0 and usual["truncated"] > 0.05
        limited = happened(**{"simulation.leverage": 20.0})
        assert limited["risk/var_limit"] > 0.1 and limited["risk/margin_limit"] > 0.01
        braked = happened(**{"simulation.leverage": 2.0}, **tight)
        assert all(braked[f"risk/daily_loss_{name}"] > 0.001 for name in ("halving", "reduction", "flattening"))
        stopped = happened(**{"simulation.leverage": 300.0, "risk_preset": "off"})
        assert stopped["terminated"] > 0.1


@pytest.mark.slow
def test_the_gradient_of_decisions_over_frozen_specialists() -> None:
    config = override_config(None, {**SETTINGS, "pathwise.window": 6, "simulation.episode_length": 20})
    market = prepare_market(config)
    start = [phases.start_specialist(config, market, i) for i in range(3)]
    specialists = [s.replace(params=added(s.params, noise(s.params, 5, 0.1), 1.0)) for s in start]
    plan = phases.plan_meta(config, market, specialists)
    assert float(plan.env_params.discount) == 1.0  # no bar of a decision counts less than another
    with jax.enable_x64(True):
        happened = Windows(plan, [(1.0,)]).agree(plan, plan.env_params, size=0.1)
    assert happened["truncated"] > 0.05 and happened["exposure"] > 0.01


@pytest.mark.slow
def test_the_gradients_of_a_window_of_the_whole_hierarchy() -> None:
    config = override_config(None, SETTINGS)
    market = prepare_market(config)
    specialists = [phases.start_specialist(config, market, i) for i in range(3)]
    plan = phases.plan_joint(config, market, specialists, phases.start_meta(config, market))
    with jax.enable_x64(True):
        windows = Windows(plan, [(1.0, 1.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)])
        happened = windows.agree(plan, portfolio_params(config, market), size=0.1)
    assert happened["truncated"] > 0.05 and happened["exposure"] > 0.01
