"""A finished training and bar files -> the bars that it is judged on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.periods import moment
from mtquant_jax.market.prepare import GIVEN, Market, bar_interval, prepare_market
from mtquant_jax.runs.trained_run import TrainedRun, scales_of
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.types import Bars, Splits

Part = Literal["test", "validation", "train", "all", "paper"]
"""Which bars are judged: a split of the training, by its times, all bars there are, or those that were paper traded."""


SYNTHETIC = "synthetic market of seed"
"""How the source of bars begins that came from no directory."""


FEWEST_DAYS = 3
"""Of returns, for the bootstrap."""


_FEWEST_BARS = 50


@dataclasses.dataclass(frozen=True)
class EvaluationBars:
    """The bars that a run is judged on."""

    market: Market
    first: int  # bar at whose close the first decision is taken
    last: int  # one past the last bar traded
    part: Part
    source: str  # the data directory, or SYNTHETIC and its seed
    overlap: dict[str, int]  # split of the training (train, validation) -> bars of it among these

    @property
    def num_steps(self) -> int:
        """Bars traded."""
        return self.last - self.first - 1

    @property
    def timestamps(self) -> np.ndarray:
        """``[L + 1]`` open times of the bars from the first decision on, seconds since 1970 UTC."""
        return self.market.timestamps[self.first : self.last]

    @property
    def is_synthetic(self) -> bool:
        """Whether the bars are generated."""
        return self.source.startswith(SYNTHETIC)

    @property
    def identity(self) -> str:
        """What the bars are of, wherever their files lie: bars of the same symbols, interval and time are the same."""
        origin = self.source if self.is_synthetic else "bars"
        return f"{origin}, {bar_interval(self.timestamps)} s: {' '.join(sorted(self.market.universe.symbols))}"

    @property
    def day(self) -> np.ndarray:
        """``[L + 1]`` the broker's day of the same bars."""
        return self.market.day[self.first : self.last]

    @property
    def day_starts(self) -> np.ndarray:
        """``[D]`` the first step of each day on which something was traded."""
        day = self.day[1:]
        return np.flatnonzero(np.diff(np.concatenate([day[:1] - 1, day])))


def prepare_evaluation_bars(
    run: TrainedRun,
    data_dir: str | None,
    part: Part,
    bars: Bars | None = None,
    period: tuple[int, int] | None = None,
) -> EvaluationBars:
    """The market to judge a run on.

    The splits are those of the training by their times: ``test`` is everything from its test split on, so that bars
    that have come since belong to it. Observations are scaled as in the training.

    Args:
        run: the training.
        data_dir: bars; None takes those of the training.
        part: which of them.
        bars: bars in memory, in the place of a directory.
        period: of the part ``paper``: opens of the bar at whose close its account opened and of the last one traded.

    Raises:
        UserError: other symbols or another interval than in training, too few bars or days of that part, or no scales.
    """
    config = settings_for(run, data_dir, bars)
    is_history = bars is not None or bool(config.data_dir)
    source = GIVEN if bars is not None else config.data_dir or f"{SYNTHETIC} {config.seed}"
    times = {name: run.split_times(name) for name in ("train", "validation", "test")}
    times |= {} if period is None else {"paper": period}

    def cut(timestamps: np.ndarray) -> Splits:
        first, last = _range(timestamps, times, part, source)
        # Scales are measured on a train split; here they are the training's, so any range will do.
        return Splits(train=(first, last), validation=(first, last), test=(first, last))

    market = prepare_market(config, cut, bars)
    interval = bar_interval(market.timestamps)
    if interval != run.market["interval_seconds"]:
        raise UserError(
            f"{source}: bars are {interval // 60} minutes apart, but {run.name} was trained on bars of "
            f"{run.market['interval_seconds'] // 60} minutes"
        )
    market = dataclasses.replace(market, **scales_of(run))
    first, last = market.splits.test
    days = len(np.unique(market.day[first + 1 : last]))
    if days < FEWEST_DAYS:
        raise UserError(
            f"{source}: the {last - first} bars to judge on are of {days} days, but {FEWEST_DAYS} are needed; "
            "`split` chooses other bars"
        )
    comparable = is_history == bool(run.config.data_dir)
    judged = market.timestamps[first + 1 : last]
    overlap = {
        name: _num_within(judged, run.learnt_times(name)) if comparable else 0 for name in ("train", "validation")
    }
    return EvaluationBars(market, first, last, part, source, overlap)


def _num_within(times: np.ndarray, periods: Sequence[tuple[int, int]]) -> int:
    """How many of the times are within any of the periods, ends included."""
    within = [(times >= first) & (times <= last) for first, last in periods]
    return int(np.any(within, axis=0).sum())


def settings_for(run: TrainedRun, data_dir: str | None, bars: Bars | None) -> TrainConfig:
    """The settings of the training, for other bars without its cuts."""
    config = run.config
    same = data_dir is None or (config.data_dir and Path(data_dir).resolve() == Path(config.data_dir).resolve())
    if bars is None and same:
        return config
    unlimited = dataclasses.replace(config.market, start="", end="")
    config = dataclasses.replace(config, market=unlimited)
    if bars is not None:  # in the place of the synthetic market and of files
        return dataclasses.replace(config, curriculum=False)
    return dataclasses.replace(config, data_dir=str(data_dir))


def _range(timestamps: np.ndarray, times: dict[str, tuple[int, int]], part: Part, source: str) -> tuple[int, int]:
    """Half-open range of the bars of a part."""
    low, high = (0, int(timestamps[-1])) if part == "all" else times[part]
    if part == "test":
        high = max(high, int(timestamps[-1]))
    first = max(LOOK_BACK_BARS, int(np.searchsorted(timestamps, low)))
    last = int(np.searchsorted(timestamps, high, side="right"))
    if last - first < _FEWEST_BARS:
        named = {"all": "all bars after the look-back", "paper": "what was paper traded"}
        wanted = named.get(part, f"the {part} split of the training")
        period = "" if part == "all" else f" ({moment(low)[:10]} to {moment(high)[:10]})"
        raise UserError(
            f"{source} has bars from {moment(timestamps[0])[:10]} to {moment(timestamps[-1])[:10]}, of which "
            f"{max(0, last - first)} belong to {wanted}{period}; {_FEWEST_BARS} are needed. `split` chooses other bars"
        )
    return first, last
