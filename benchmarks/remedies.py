"""What may keep a specialist from learning its training bars by heart: the rows of `ablation.py`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.distributions import DiagonalGaussian
from mtquant_jax.agents.hierarchy import SpecialistAgent
from mtquant_jax.market.prepare import Market
from mtquant_jax.simulation.market_env import MarketParams
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from mtquant_jax.time_zones import read_zone
from mtquant_jax.types import Bars

LEARNERS = ("pathwise", "ppo")
_PATHS = 8  # of resampled or blurred histories
_BLOCK = 4.0  # mean length of resampled blocks, weeks
_RECENCY = 8.0  # how much more often the newest bars are drawn than the oldest


@dataclasses.dataclass(frozen=True)
class Remedy:
    """What a row changes of the training; the default is nothing."""

    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    learners: tuple[str, ...] = LEARNERS
    """Algorithms that the row is measured with."""
    resampled: bool = False
    """Train on paths that are put together from weeks of the history."""
    noise: float = 0.0
    """Noise of each feature on each training bar, in its standard deviations."""
    zeroed: float = 0.0
    """Share of features that stand at their mean on a training path."""
    pretrained: float | None = None
    """Edge of a synthetic market with many paths that is trained on before."""
    policies: int = 1
    """Policies whose actions are averaged."""
    folds: bool = False
    """Hand on what trainings without parts of the history bear out."""
    averaged: str = ""
    """Average it with the trainings without parts of the history: their ``actions`` or their ``weights``."""
    recent: bool = False
    """Begin episodes on newer bars more often."""
    costs: float = 1.0
    """Multiple of all costs in training."""


REMEDIES = {
    "resampled paths": Remedy(resampled=True),
    "pretrained without an edge": Remedy(pretrained=0.0, learners=("pathwise",)),
    "pretrained with a weak edge": Remedy(pretrained=0.06),
    "ensemble of three": Remedy(policies=3),
    "folds": Remedy(folds=True),
    "mean action with its folds": Remedy(averaged="actions"),
    "mean weights with its folds": Remedy(averaged="weights"),
    "twice the costs": Remedy(costs=2.0),
    "variance penalty": Remedy({"reward.objective": "mean_variance", "reward.risk_aversion": 0.1}),
    "entropy bonus": Remedy({"ppo.entropy_weight": 0.003}, ("ppo",)),
    "weight decay x 4": Remedy({"pathwise.weight_decay": 4.0}, ("pathwise",)),
    "16 hidden units": Remedy({"ppo.hidden_size": 16}),
    "noise on features": Remedy(noise=0.5, learners=("pathwise",)),
    "features left out": Remedy(zeroed=0.25),
    "recent bars more often": Remedy(recent=True),
}


def combined(remedies: Sequence[Remedy]) -> Remedy:
    """All of several remedies in one; where two differ in a number, the last one's."""
    changed: dict[str, Any] = {}
    plain = Remedy()
    for remedy in remedies:
        for field in dataclasses.fields(Remedy):
            value = getattr(remedy, field.name)
            if field.name != "learners" and value != getattr(plain, field.name):
                changed[field.name] = value
    changed["settings"] = {key: value for remedy in remedies for key, value in remedy.settings.items()}
    return Remedy(**changed)


def resampled(bars: Bars, split: tuple[int, int], clock: str, seed: int, recent: bool) -> Bars:
    """Paths of whole weeks of a split, in blocks of random length (stationary bootstrap).

    All instruments are taken from the same bars, at the same hour of the week. Prices are rebuilt from the returns
    against the close before; a bar that the week taken does not have is not tradable.

    Args:
        bars: hourly ones of one path ``[1, T, N]``.
        split: first bar, and one past the last, that weeks are taken from.
        clock: on which weeks begin.
        seed: of the draws.
        recent: whether newer weeks are taken more often.
    """
    first, last = split
    hours = read_zone(clock, "clock").from_utc(np.asarray(bars.timestamps, np.int64)) // 3600 + 72
    week, hour = np.divmod(hours, 168)  # from Monday 0:00
    week = week - week[0]
    bar_at = np.full((week[-1] + 1, 168), -1)
    bar_at[week[first:last], hour[first:last]] = np.arange(first, last)
    usable = np.flatnonzero((bar_at >= 0).sum(axis=1) >= 100)
    rng = np.random.default_rng(seed)
    weight = _RECENCY ** np.linspace(0.0, 1.0, len(usable)) if recent else np.ones(len(usable))
    taken = np.stack([_blocks(rng, week[-1] + 1, weight / weight.sum()) for _ in range(_PATHS)])
    return _rebuilt(bars, bar_at[usable[taken]][:, week, hour])


def _blocks(rng: np.random.Generator, count: int, weight: np.ndarray) -> np.ndarray:
    """Indices of weeks in blocks of consecutive ones that begin anywhere, the first after the last."""
    drawn, begins = rng.choice(len(weight), count, p=weight), rng.random(count) < 1.0 / _BLOCK
    for i in range(1, count):
        if not begins[i]:
            drawn[i] = (drawn[i - 1] + 1) % len(weight)
    return drawn


def _rebuilt(bars: Bars, source: np.ndarray) -> Bars:
    """Bars whose returns are those of other bars ``source`` ``[P, T]``; -1 is a bar without a trade."""
    there = (source >= 0)[..., None]
    now, before = np.maximum(source, 1), np.maximum(source, 1) - 1
    close = np.asarray(bars.close[0], np.float64)

    def relative(name: str) -> np.ndarray:
        values = np.asarray(getattr(bars, name)[0], np.float64)
        return np.where(there, values[now] / close[before], 1.0)

    path = np.cumprod(relative("close"), axis=1)
    level = close[0] * np.concatenate([np.ones_like(path[:, :1]), path[:, :-1]], axis=1)
    prices = {name: relative(name) * level for name in ("open", "high", "low", "close")}
    spread = np.asarray(bars.spread[0], np.float64)[now] / close[before] * level
    volume = np.where(there, np.asarray(bars.volume[0])[now], 0.0)
    tradable = np.asarray(bars.tradable[0])[now] & there
    return dataclasses.replace(bars, **prices, spread=spread, volume=volume, tradable=tradable)


def blurred(market: Market, remedy: Remedy, seed: int) -> Market:
    """Paths on which features have noise or stand at their mean, of the training split; prices are as they were."""
    rng, (first, last) = np.random.default_rng(seed), market.splits.train
    shared = ("swap_nights", "day")
    table = market.table
    copies = _PATHS // table.open.shape[0]
    names = [field.name for field in dataclasses.fields(table) if field.name not in shared]
    columns = {name: np.repeat(np.asarray(getattr(table, name)), copies, axis=0) for name in names}
    for name in ("features", "domain"):
        values = columns[name]
        mean, deviation = (f(values[:, first:last], axis=(0, 1), keepdims=True) for f in (np.mean, np.std))
        if remedy.noise:
            values = values + remedy.noise * deviation * rng.standard_normal(values.shape, np.float32)
        out = rng.random((_PATHS, 1, 1, values.shape[-1])) < remedy.zeroed
        columns[name] = np.where(out, mean, values).astype(np.float32)
    return dataclasses.replace(market, table=dataclasses.replace(table, **jax.device_put(columns)))


class RecentStarts(SpecialistEnv):
    """Episodes begin on newer bars more often, exponentially over the span."""

    def reset_env(self, key: jax.Array, params: MarketParams) -> tuple[Any, Any]:
        """Start at a random path, on a bar that is rather one of the last."""
        path_key, bar_key = jax.random.split(key)
        path = jax.random.randint(path_key, (), 0, params.path_probability.size)
        room = params.span.last - params.max_steps_in_episode - params.span.first
        where = jnp.log1p(jax.random.uniform(bar_key) * (_RECENCY - 1.0)) / jnp.log(_RECENCY)
        bar = params.span.first + jnp.floor(where * room).astype(jnp.int32)
        state = self.initial_state(path, bar, params)
        return self.observe(key, state, None, params), state


@functools.cache
def recent_starts(env: SpecialistEnv) -> SpecialistEnv:
    """The same environment with recent starts, always the same object."""
    return RecentStarts(env.reward)


class Ensemble(SpecialistAgent):
    """The mean action of several policies, which are stacked."""

    def policy(self, params: Any, normalizers: Any, inputs: Any, env_params: Any) -> DiagonalGaussian:
        """Mean of the policies' means; the rest is the first one's."""
        each = jax.vmap(super().policy, in_axes=(0, 0, None, None))(params, normalizers, inputs, env_params)
        return dataclasses.replace(each, mean=each.mean.mean(axis=0), log_std=each.log_std[0], mask=each.mask[0])
