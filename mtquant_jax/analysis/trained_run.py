"""A finished training in its run directory -> its settings and policies, and the bars that it is judged on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mtquant_jax.config import TrainConfig
from mtquant_jax.config_files import apply, read_yaml
from mtquant_jax.errors import UserError
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.periods import moment
from mtquant_jax.training.handover import META_CONTROLLER, restore_meta, restore_portfolio, restore_specialists
from mtquant_jax.training.market_setup import Market, bar_interval, prepare_market
from mtquant_jax.training.phases import Policy
from mtquant_jax.training.records import RunPaths, read_json
from mtquant_jax.types import Splits
from mtquant_jax.validation import parse_phases

Part = Literal["test", "validation", "train", "all"]
"""Which bars are judged: a split of the training, by its times, or all bars there are."""

SYNTHETIC = "synthetic market of seed"
"""How the source of bars begins that came from no directory."""

_AGAIN = "Train all phases again"

FEWEST_DAYS = 3
"""Of returns, for the bootstrap."""

_FEWEST_BARS = 50
_WHAT = "evaluation needs a finished training"


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run directory says of its training; nothing of it is changed by reading."""

    paths: RunPaths
    config: TrainConfig
    results: dict[int, dict[str, Any]]  # of every finished phase
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        """The run directory's name."""
        return self.paths.run_dir.name

    @property
    def run_id(self) -> str:
        """Of the last phase: every training has one of its own."""
        return str(self.results[max(self.results)]["run_id"])

    @property
    def market(self) -> dict[str, Any]:
        """What the summary tells of the market trained on."""
        told: dict[str, Any] = self.summary["market"]
        return told

    def split_times(self, name: str) -> tuple[int, int]:
        """First and last bar of a split, seconds since 1970 UTC."""
        split = self.market["splits"][name]
        return _seconds(split["first"]), _seconds(split["last"])


@dataclasses.dataclass(frozen=True)
class Judged:
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
    def identity(self) -> str:
        """What the bars are of, wherever their files lie: bars of the same symbols, interval and time are the same."""
        origin = self.source if self.source.startswith(SYNTHETIC) else "bars"
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


@dataclasses.dataclass(frozen=True)
class Policies:
    """What every finished phase handed on."""

    specialists: list[Policy]  # phase 1
    meta: Policy | None  # phase 2
    portfolio: Policy | None  # phase 3: all agents


def open_run(run_dir: Path) -> TrainedRun:
    """Read what a training left.

    Raises:
        UserError: there is no run, it has not been finished, or its files do not belong together.
    """
    paths = RunPaths(run_dir)
    if not paths.run_dir.is_dir():
        raise UserError(f"--run-dir {run_dir}: there is no such directory")
    if not paths.resolved_config.is_file():
        raise UserError(f"--run-dir {run_dir} holds no training: there is no {paths.resolved_config}")
    config = apply(TrainConfig(), read_yaml(paths.resolved_config), str(paths.resolved_config))
    config = dataclasses.replace(config, run_dir=str(paths.run_dir))
    missing = [phase for phase in parse_phases(config.phases) if not paths.phase_results(phase).is_file()]
    if missing:
        told = f"phase{'s' * (len(missing) > 1)} {' and '.join(map(str, missing))}"
        raise UserError(
            f"--run-dir {run_dir}: the training was not finished, {told} left no results; train "
            f"{'it' if len(missing) == 1 else 'them'} with --phases {','.join(map(str, missing))}"
        )
    results = {
        phase: read_json(paths.phase_results(phase), _WHAT)
        for phase in (1, 2, 3)
        if paths.phase_results(phase).is_file()
    }
    if 1 not in results:
        raise UserError(f"--run-dir {run_dir}: phase 1 has left no results ({paths.phase_results(1)})")
    results = _that_belong_together(results)
    summary = read_json(paths.training_summary, _WHAT)
    for key in ("splits", "interval_seconds", "symbols"):
        if key not in summary.get("market", {}):
            raise UserError(f"{paths.training_summary} does not tell {key} of its market; train again to evaluate")
    return TrainedRun(paths, config, results, summary)


def _that_belong_together(results: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Without later phases that were trained on other earlier ones."""
    kept = {1: results[1]}
    for phase in (2, 3):
        found = results.get(phase)
        same_specialists = found is not None and found.get("specialists_from") == results[1]["run_id"]
        same_meta = phase == 2 or (
            2 in kept and found is not None and found.get("meta_controller_from") == kept[2]["run_id"]
        )
        if found is None or not (same_specialists and same_meta):
            break
        kept[phase] = found
    return kept


def prepare_judged(run: TrainedRun, data_dir: str | None, part: Part) -> Judged:
    """The market to judge a run on.

    The splits are those of the training by their times: ``test`` is everything from its test split on, so that bars
    that have come since belong to it. Observations are scaled as in the training.

    Args:
        run: the training.
        data_dir: bars; None takes those of the training.
        part: which of them.

    Raises:
        UserError: other symbols or another interval than in training, too few bars or days of that part, or no scales.
    """
    config = run.config
    if data_dir is not None and not (config.data_dir and Path(data_dir).resolve() == Path(config.data_dir).resolve()):
        unlimited = dataclasses.replace(config.market, start="", end="")
        config = dataclasses.replace(config, data_dir=str(data_dir), market=unlimited)
    source = config.data_dir or f"{SYNTHETIC} {config.seed}"
    times = {name: run.split_times(name) for name in ("train", "validation", "test")}

    def cut(timestamps: np.ndarray) -> Splits:
        first, last = _range(timestamps, times, part, source)
        # Training reckons its scales on a train split; here they are the training's, so any range will do.
        return Splits(train=(first, last), validation=(first, last), test=(first, last))

    market = prepare_market(config, cut)
    interval = bar_interval(market.timestamps)
    if interval != run.market["interval_seconds"]:
        raise UserError(
            f"{source}: bars are {interval // 60} minutes apart, but {run.name} was trained on bars of "
            f"{run.market['interval_seconds'] // 60} minutes"
        )
    market = dataclasses.replace(market, **_scales(run))
    first, last = market.splits.test
    days = len(np.unique(market.day[first + 1 : last]))
    if days < FEWEST_DAYS:
        raise UserError(
            f"{source}: the {last - first} bars to judge on are of {days} days, but {FEWEST_DAYS} are needed; "
            "--split chooses other bars"
        )
    comparable = bool(config.data_dir) == bool(run.config.data_dir)
    judged = market.timestamps[first + 1 : last]
    overlap = {
        name: int(((judged >= times[name][0]) & (judged <= times[name][1])).sum()) if comparable else 0
        for name in ("train", "validation")
    }
    return Judged(market, first, last, part, source, overlap)


def restore_all(run: TrainedRun, market: Market) -> Policies:
    """The policies that every finished phase handed on.

    Raises:
        UserError: a checkpoint is missing, broken or of another network.
    """
    specialists = restore_specialists(run.config, run.paths, market, run.results[1]["specialists"])
    meta = portfolio = None
    if 2 in run.results:
        meta = restore_meta(run.config, run.paths, market, run.results[2][META_CONTROLLER]["best_checkpoint"])
    if meta is not None and 3 in run.results:
        portfolio = restore_portfolio(run.paths, run.results[3]["portfolio"]["best_checkpoint"], specialists, meta)
    return Policies(specialists, meta, portfolio)


def _range(timestamps: np.ndarray, times: dict[str, tuple[int, int]], part: Part, source: str) -> tuple[int, int]:
    """Half-open range of the bars of a part."""
    low, high = (0, int(timestamps[-1])) if part == "all" else times[part]
    if part == "test":
        high = max(high, int(timestamps[-1]))
    first = max(LOOK_BACK_BARS, int(np.searchsorted(timestamps, low)))
    last = int(np.searchsorted(timestamps, high, side="right"))
    if last - first < _FEWEST_BARS:
        wanted = "all bars after the look-back" if part == "all" else f"the {part} split of the training"
        period = "" if part == "all" else f" ({moment(low)[:10]} to {moment(high)[:10]})"
        raise UserError(
            f"{source} has bars from {moment(timestamps[0])[:10]} to {moment(timestamps[-1])[:10]}, of which "
            f"{max(0, last - first)} belong to {wanted}{period}; {_FEWEST_BARS} are needed. --split chooses other bars"
        )
    return first, last


def _scales(run: TrainedRun) -> dict[str, Any]:
    """What scales observations and rewards, as the training measured it on its own training split."""
    scales = run.results[1].get("scales")
    if not isinstance(scales, dict) or not {"classes", "portfolio"} <= set(scales):
        raise UserError(
            f"{run.paths.phase_results(1)} does not tell the scales that observations were divided by; without them "
            f"the policies would see another market than they learnt in. {_AGAIN}"
        )
    try:
        classes, portfolio = np.asarray(scales["classes"], np.float64), float(scales["portfolio"])
    except (TypeError, ValueError):
        raise UserError(
            f"{run.paths.phase_results(1)} has scales that are no numbers; was it changed? {_AGAIN}"
        ) from None
    return {"class_scale": classes, "portfolio_scale": portfolio}


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp())
