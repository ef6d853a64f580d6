"""Turns a key into the regimes of the synthetic market's edge: the bars in which each class has its hidden drift."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.market.synthetic.scenarios import Scenario, per_path
from mtquant_jax.types import AssetClass

_STREAM = 1  # folded into the market's key, so that the noise of the bars does not depend on the regimes


def edge_states(
    key: jax.Array,
    num_paths: int,
    num_bars: int,
    symbols: Sequence[str],
    scenario: Scenario | None = None,
    classes: Sequence[AssetClass] = (),
) -> np.ndarray:
    """Return where the edge is on [P, T, S] bool in the bars that `generate` draws from the same arguments.

    Entry t is True if the drift of `edge` is present in bar t, in its move from open to close. An order decided at the
    close of bar t - 1 and filled at the open of bar t earns it; agents do not observe it. S counts the classes in the
    order in which their symbols occur; a symbol outside of `classes` forms its own class. All entries are True if
    nothing switches.
    """
    numbers = class_numbers(symbols, classes)
    bars = per_path(scenario, num_paths).edge_switch_bars
    return np.asarray(_compiled(key, jnp.asarray(bars), num_bars, len(symbols)))[..., : max(numbers) + 1]


def class_numbers(symbols: Sequence[str], classes: Sequence[AssetClass]) -> list[int]:
    """The index of each symbol's class, counted in the order in which the classes occur."""
    names = [next((c.name for c in classes if symbol in c.symbols), symbol) for symbol in symbols]
    order = list(dict.fromkeys(names))
    return [order.index(name) for name in names]


def switching(key: jax.Array, switch_bars: jax.Array, num_bars: int, size: int) -> jax.Array:
    """Draw independent two-state chains [P, T, size] bool, stationary from the first bar on.

    `switch_bars` [P] is the mean time in a state, in bars; 0 gives True throughout. A chain that leaves both states
    with the same probability is determined by its first state and the parity of its switches. There are as many chains
    as instruments, which are at least as many as classes, so that the number of classes compiles nothing.
    """
    draws = jax.random.uniform(jax.random.fold_in(key, _STREAM), (num_bars, switch_bars.shape[0], size))
    chance = jnp.where(switch_bars > 0.0, 1.0 / jnp.maximum(switch_bars, 1.0), 0.0)[:, None]

    def step(on: jax.Array, draw: jax.Array) -> tuple[jax.Array, jax.Array]:
        on = on ^ (draw < chance)
        return on, on

    first = draws[0] < 0.5
    _, later = jax.lax.scan(step, first, draws[1:])
    states = jnp.concatenate([first[None], later])
    return jnp.swapaxes(states | (switch_bars <= 0.0)[None, :, None], 0, 1)


_compiled = jax.jit(switching, static_argnums=(2, 3))
