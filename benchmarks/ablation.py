"""Which remedies keep specialists from learning their training bars by heart? Each alone, then several together.

    python benchmarks/ablation.py --data-dir ../shared/data/market/h1

On two busy cores a row of ten seeds takes about a minute with pathwise and two to three with PPO, the ensemble twice
and the folds four times as long; the whole table takes hours. Rows are stored one by one, and a command goes on where
the one before was stopped, so that parts can be chosen:

    python benchmarks/ablation.py --learners ppo --markets planted --remedies 'ensemble of three' --no-together

Every seed has one history of its own to train on: 4,764 synthetic bars, or the real bars up to one of ten dates (4,764
to 10,488). The last policy is judged, at full tilt except in the row of the folds: on a fresh synthetic market of
another seed (24 paths x 1,259 bars), or on real bars behind the training split. Those of two seeds do not overlap, and
the test split of the settings is cut away before anything is computed. Growth is net, per bar, in typical returns, mean
over the classes; every row is compared with the base seed by seed (95 % intervals, Student's t). The gap is what a
policy earns on the last 1,500 bars that it was trained on, less what it earns on unseen ones. Only phase 1 is trained,
on log growth.
PPO, which takes longer, has fewer rows. What is put together was chosen on these same markets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from edge import FRESH, check_seeds, interval_of, paired
from recording import RESULTS, store
from remedies import LEARNERS, REMEDIES, Ensemble, Remedy, blurred, combined, recent_starts, resampled

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import SPECIALIST, stack
from mtquant_jax.backtest.performance import performance
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.bars.selection import between
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.prepare import Market, prepare_market, resplit, splits_of
from mtquant_jax.market.splits import walk_forward_folds
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_env import MarketParams
from mtquant_jax.simulation.market_params import class_params, evaluation_params, scalar
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.folds import decided, fold_starts, mean_of, train_without
from mtquant_jax.training.loop import Schedule, train
from mtquant_jax.training.observer import Member, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.runner import side_by_side
from mtquant_jax.training.validation import Validator
from mtquant_jax.types import Bars, Splits

MARKETS = ("real", "weak", "planted", "driftless")
BASE, TOGETHER = "base", "promising ones together"
_BARS = 12_500  # of histories with what lies behind their training split; as many for all, for one compiled program
_HISTORY = {"market.num_paths": 1, "market.num_bars": _BARS}
_JUDGING = {"market.num_paths": 24, "market.num_bars": 1500}
_SHORTEST = 10  # folds, as many as there are seeds of real bars by default
_FIRST_TRAINING = 0.4  # share of the real bars in the shortest training history
_SEEN = 1500  # last bars of the training split, on which the gap is measured
_MANY = {"market.num_paths": 16, "market.num_bars": 6000}  # of the market for pretraining
_COPY = 1_000_000  # between the seeds of an ensemble
_PRETRAINING = 555_555  # seed of the market for pretraining
_LOSS = 0.03  # share of the base's growth that a promising remedy may cost on a market
_PROMISING = 0.25  # mean lead over all markets, in half widths of its interval, of remedies that are put together


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare remedies against overfitting."""

    seeds: int = 10
    """Histories per market; 2 to 6, 8, 10, 12, 16 or 20."""
    first_seed: int = 40
    """First seed; others were used to choose defaults."""
    timesteps: int = 20_000
    """Of each training."""
    classes: tuple[str, ...] = ("forex", "equity")
    """Whose specialists are trained."""
    markets: tuple[str, ...] = MARKETS
    """Any of real, weak, planted and driftless."""
    learners: tuple[str, ...] = LEARNERS
    """Algorithms to train with."""
    remedies: tuple[str, ...] = ()
    """Rows besides the base; empty: all."""
    default_market: bool = False
    """Train on the default market, of 16 paths, and not on one short history; of synthetic markets."""
    weak_edge: float = 0.08
    """Edge of the weak market; that of the planted one is 0.12."""
    data_dir: Path = Path("../shared/data/market/h1")
    """Folder of real hourly bars."""
    together: bool = True
    """Measure the rows that look promising together, too."""
    name: str = "ablation"
    """Name of the result file; rows that it has from a run with the same settings are not measured again."""
    results: Path = RESULTS
    """Folder of the result file."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One seed's history, and the bars that judge what is trained on it."""

    name: str
    config: TrainConfig
    bars: Bars | None  # that the market is made of; None where they are not needed
    market: Market
    clock: str  # on which weeks begin
    judging: Market
    stretch: tuple[int, int]  # first bar and number of steps of the judging market


def main(arguments: Arguments) -> None:
    """Train and judge every row, then several together; print and store."""
    check_seeds(arguments.seeds)
    prepare_jax()
    bench, figures = Bench(arguments), _earlier(arguments)
    rows = {BASE: Remedy(), **{name: REMEDIES[name] for name in arguments.remedies or REMEDIES}}
    for learner in arguments.learners:
        for market in arguments.markets:
            bench.measure(figures, market, learner, rows)
    for learner in arguments.learners if arguments.together else ():
        chosen = promising(figures, learner)
        print(f"promising, {learner}: {', '.join(chosen) or 'none'}", file=sys.stderr, flush=True)
        if len(chosen) > 1:
            for market in arguments.markets:
                bench.measure(figures, market, learner, {TOGETHER: combined([REMEDIES[name] for name in chosen])})
    _store(arguments, figures)


def _settings(arguments: Arguments) -> dict[str, Any]:
    """What rows of one table have in common, as JSON has it."""
    names = ("seeds", "first_seed", "timesteps", "weak_edge", "classes", "default_market")
    remedies = {name: dataclasses.asdict(remedy) for name, remedy in REMEDIES.items()}
    for remedy in remedies.values():
        del remedy["learners"]  # which change no row
    shared = {name: getattr(arguments, name) for name in names} | {"remedies": remedies}
    found: dict[str, Any] = json.loads(json.dumps(shared))
    return found


def _earlier(arguments: Arguments) -> dict[str, Any]:
    """Figures of an earlier run with the same settings, by market, learner and row."""
    path = arguments.results / f"{arguments.name}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = all(content.get(key) == value for key, value in _settings(arguments).items())
    found: dict[str, Any] = content["markets"] if same else {}
    return found


def _store(arguments: Arguments, figures: dict[str, Any]) -> None:
    rows = [row for learners in figures.values() for of_learner in learners.values() for row in of_learner.values()]
    seconds = sum(row["seconds"] for row in rows)
    together = {learner: promising(figures, learner) for learner in arguments.learners}
    found = {**_settings(arguments), "seconds": seconds, "together": together, "markets": figures}
    with contextlib.redirect_stdout(io.StringIO()):  # rows are printed one by one
        store(arguments.name, found, arguments.results)


def promising(figures: dict[str, Any], learner: str) -> list[str]:
    """Rows that are rather ahead of the base over all markets, in growth or in Sharpe ratio, and that cost no growth.

    A row costs growth where it is surely behind on a market, and by more than a few percent.
    """
    found = []
    markets = [of_learner[learner] for of_learner in figures.values() if learner in of_learner]
    for name, remedy in REMEDIES.items():
        if (
            remedy.folds or not markets or any(name not in rows for rows in markets)
        ):  # folds cut the tilt of whatever was trained
            continue
        leads = [rows[name]["ahead"] for rows in markets]
        losses = [_LOSS * abs(rows[BASE]["growth"]["mean"]) for rows in markets]
        growth = [lead["growth"] for lead in leads]
        costs = any(one["mean"] < -max(loss, one["half_width"]) for one, loss in zip(growth, losses, strict=True))
        ahead = [statistics.fmean(one[key]["mean"] / one[key]["half_width"] for one in leads) for key in leads[0]]
        if not costs and max(ahead) > _PROMISING:
            found.append(name)
    return found


def cells_of(name: str, arguments: Arguments) -> list[Cell]:
    """The cells of a market, seed by seed."""
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    config = dataclasses.replace(config, phase1_timesteps=arguments.timesteps, save_freq=arguments.timesteps)
    config = with_values(config, {"reward.objective": "log_growth"}, "base")  # a variance penalty is one of the rows
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    if name == "real":
        return real_cells(dataclasses.replace(config, data_dir=str(arguments.data_dir.absolute())), seeds)
    edge = {"weak": arguments.weak_edge, "planted": 0.12, "driftless": 0.0}[name]
    return [synthetic_cell(config, edge, seed, arguments.default_market) for seed in seeds]


def synthetic_cell(config: TrainConfig, edge: float, seed: int, default_market: bool) -> Cell:
    """One synthetic path, or the default market, judged on many paths of another seed."""
    history = {} if default_market else _HISTORY
    config = with_values(config, {"seed": seed, "market.edge": edge, **history}, "history")
    market, bars = _with_bars(config)
    if not default_market:
        market = resplit(market, config, histories(config, _SHORTEST)[0])
    there = with_values(config, {"seed": seed + FRESH, **_JUDGING}, "judging")
    judging = prepare_market(there, cut=lambda times: _all_of(len(times)))
    steps = len(judging.timestamps) - LOOK_BACK_BARS - 1
    return Cell(f"edge {edge}", config, bars, market, "Etc/GMT-2", judging, (LOOK_BACK_BARS, steps))


def histories(config: TrainConfig, count: int) -> list[Splits]:
    """Training splits of growing length, with bars behind each that the others are not judged on."""
    settings = (config.market.gap_bars, config.simulation.episode_length, LOOK_BACK_BARS)
    return walk_forward_folds(_BARS, count, _FIRST_TRAINING, True, *settings)


def _all_of(num_bars: int) -> Splits:
    """Everything after the warm-up as every split."""
    whole = (LOOK_BACK_BARS, num_bars)
    return Splits(whole, whole, whole)


def real_cells(config: TrainConfig, seeds: Sequence[int]) -> list[Cell]:
    """Real histories up to growing dates, each judged on bars behind it; those of the settings' test split are left."""

    def before_test(bars: Bars) -> Bars:
        end = splits_of(config, len(bars.timestamps)).validation[1]
        return between(bars, end - _BARS, end)

    market, bars = _with_bars(config, before_test)
    cells = []
    for seed, splits in zip(seeds, histories(config, len(seeds)), strict=True):
        own = resplit(market, config, splits)
        first, last = splits.test
        stretch = (first, last - first - 1)
        clock = config.simulation.broker_clock
        cells.append(Cell("real", dataclasses.replace(config, seed=seed), bars, own, clock, own, stretch))
    return cells


def _with_bars(config: TrainConfig, change: Any = None) -> tuple[Market, Bars]:
    """A market and the bars that it is made of."""
    kept: list[Bars] = []

    def keep(bars: Bars) -> Bars:
        kept.append(bars if change is None else change(bars))
        return kept[0]

    return prepare_market(config, change=keep), kept[0]


Found = dict[str, dict[str, float]]  # seen and unseen -> growth, Sharpe ratio and turnover


@dataclasses.dataclass
class Bench:
    """Trains and judges rows."""

    arguments: Arguments
    compiler: Compiler = dataclasses.field(default_factory=Compiler)
    outcomes: dict[Any, Outcome] = dataclasses.field(default_factory=dict)
    """Of trainings so far, by all that they depend on."""
    blind: dict[Any, list[list[Policy | None]]] = dataclasses.field(default_factory=dict)
    """Of trainings without parts of the history, likewise."""
    markets: dict[Any, Market] = dataclasses.field(default_factory=dict)
    """For pretraining, by edge."""
    cells: dict[str, list[Cell]] = dataclasses.field(default_factory=dict)
    """By market."""

    def measure(self, figures: dict[str, Any], market: str, learner: str, rows: dict[str, Remedy]) -> None:
        """Add the figures of rows that are not there, and store them row by row."""
        there = figures.setdefault(market, {}).setdefault(learner, {})
        for name, remedy in rows.items():
            if name in there or learner not in remedy.learners:
                continue
            if market not in self.cells:
                self.cells[market] = cells_of(market, self.arguments)
            began = time.perf_counter()
            found = self.row(self.cells[market], learner, remedy)
            base = there[BASE]["by_seed"] if BASE in there else found
            there[name] = _figures(found, base) | {"seconds": time.perf_counter() - began}
            _print(f"{market}, {learner}", name, there[name])
            _store(self.arguments, figures)

    def row(self, cells: Sequence[Cell], learner: str, remedy: Remedy) -> list[Found]:
        """What the policies of a row earn, seed by seed: the mean over the classes."""
        found = []
        for i in range(0, len(cells), 2):  # two at a time, so that few changed markets are in memory
            pair = [_changed(cell, learner, remedy) for cell in cells[i : i + 2]]
            outcomes = self._handed_on(pair, remedy)
            tasks = [(cell, index, outcomes[cell.config.seed, index]) for cell in pair for index in self._indices(cell)]
            judged = side_by_side(lambda task: self._judged(*task), tasks)
            width = len(self.arguments.classes)
            found += [_mean(judged[j : j + width]) for j in range(0, len(judged), width)]
        return found

    def _indices(self, cell: Cell) -> list[int]:
        """Of the classes that are trained."""
        return [i for i, one in enumerate(cell.market.universe.classes) if one.name in self.arguments.classes]

    def _handed_on(self, cells: Sequence[Cell], remedy: Remedy) -> dict[tuple[int, int], list[Outcome]]:
        """The outcomes of each cell and class: one per policy; with folds, tilts are cut to what they bear out."""
        members = [member for cell in cells for member in self._members(cell, remedy)]
        known = [_key(cell, remedy, *which) for cell in cells for which in self._order(cell, remedy)]
        schedule = _schedule(cells[0].config)
        if new := [i for i, key in enumerate(known) if key not in self.outcomes]:
            fresh = train([members[i] for i in new], schedule, TrainingObserver(), self.compiler)
            self.outcomes |= {known[i]: outcome for i, outcome in zip(new, fresh, strict=True)}
        found: dict[tuple[int, int], list[Outcome]] = {}
        for cell in cells:
            for index, copy in self._order(cell, remedy):
                outcome = self.outcomes[_key(cell, remedy, index, copy)]
                found.setdefault((cell.config.seed, index), []).append(outcome)
        if remedy.folds or remedy.averaged:
            each = len(members) // len(cells)
            for i, cell in enumerate(cells):
                self._fold(cell, remedy, members[i * each : (i + 1) * each], schedule, found)
        return found

    def _order(self, cell: Cell, remedy: Remedy) -> list[tuple[int, int]]:
        """Class and copy of each training of a cell."""
        return [(index, copy) for index in self._indices(cell) for copy in range(remedy.policies)]

    def _fold(
        self,
        cell: Cell,
        remedy: Remedy,
        members: Sequence[Member],
        schedule: Schedule,
        found: dict[Any, list[Outcome]],
    ) -> None:
        """Train without parts of the history, and cut the tilts of a cell to what that bears out or average with it."""
        config, market = cell.config, cell.market
        starts = fold_starts(config, market, config.evidence_folds)
        blind = self._without(cell, _key(cell, remedy, -1, 0), members, starts, schedule)
        if remedy.averaged:
            for index, without in zip(self._indices(cell), blind, strict=True):
                (outcome,) = found[config.seed, index]
                policies = [outcome.policy, *(policy for policy in without if policy is not None)]
                if remedy.averaged == "weights":
                    policies = [mean_of(policies)]
                found[config.seed, index] = [dataclasses.replace(outcome, policy=policy) for policy in policies]
            return
        days = Validator(config, market, self.compiler).days_per_year
        for index, member, without in zip(self._indices(cell), members, blind, strict=True):
            (outcome,) = found[config.seed, index]
            found[config.seed, index] = [decided(member, outcome, starts, without, days, config.trials)]

    def _without(
        self, cell: Cell, key: Any, members: Sequence[Member], starts: Sequence[int], schedule: Schedule
    ) -> list[list[Policy | None]]:
        """The policies of trainings without parts of the history, which several rows share."""
        if not starts:
            return [[] for _ in members]
        if key not in self.blind:
            found = train_without(members, starts, cell.config, cell.market, schedule, self.compiler, bool)
            self.blind[key] = found
        return self.blind[key]

    def _members(self, cell: Cell, remedy: Remedy) -> list[Member]:
        """The trainings of a cell: class by class, the policies of an ensemble next to each other."""
        market, config = _training_market(cell, remedy), cell.config
        starts = {} if remedy.pretrained is None else self._pretrained(config, remedy)
        validator = Validator(config, cell.market, self.compiler)
        env_params = {index: _with_costs(class_params(config, market, index), remedy) for index in self._indices(cell)}
        members = []
        for index, copy in self._order(cell, remedy):
            own = dataclasses.replace(config, seed=config.seed + copy * _COPY)
            plan = phases.plan_specialist(own, market, index, env_params[index])
            if remedy.recent and not remedy.resampled:
                program = dataclasses.replace(plan.program, env=recent_starts(plan.program.env))
                plan = dataclasses.replace(plan, program=program)
            if starts:
                plan = dataclasses.replace(plan, start=_in_scale(starts[index], plan.start))
            asset_class = market.universe.classes[index]
            validate = functools.partial(validator.specialist, plan, asset_class.symbols)
            members.append(Member(1, 0, own.seed, asset_class.name, plan, validate))
        return members

    def _pretrained(self, config: TrainConfig, remedy: Remedy) -> dict[int, Policy]:
        """Policies of the classes after training on a synthetic market of many paths."""
        of_market = {"seed": _PRETRAINING, "market.edge": remedy.pretrained, "data_dir": "", **_MANY}
        there = with_values(config, of_market, "pretraining")
        if remedy.pretrained not in self.markets:
            self.markets[remedy.pretrained] = prepare_market(there)
        market, whole = self.markets[remedy.pretrained], (0, 0)
        there = dataclasses.replace(there, seed=config.seed)
        cell = Cell(f"pretraining {remedy.pretrained}", there, None, market, "", market, whole)
        plain = Remedy(settings=remedy.settings)
        return {index: outcomes[0].policy for (_, index), outcomes in self._handed_on([cell], plain).items()}

    def _judged(self, cell: Cell, index: int, outcomes: Sequence[Outcome]) -> Found:
        """What the policies of one class, together, earn on bars that they have seen and on others."""
        plan = phases.plan_specialist(cell.config, cell.market, index)
        agent = Ensemble(phases.specialist_network(cell.config, cell.market))
        params = stack([outcome.policy.params for outcome in outcomes])
        normalizers = stack([outcome.policy.normalizers for outcome in outcomes])
        scale = float(cell.market.class_scale[index])
        found = {}
        stretches = {
            "seen": (cell.market, cell.market.splits.train[1] - _SEEN, _SEEN - 1),
            "unseen": (cell.judging, *cell.stretch),
        }
        for name, (market, first, steps) in stretches.items():
            env_params = evaluation_params(class_params(cell.config, market, index))
            arguments = (params, normalizers, env_params, jnp.int32(first))
            record = self.compiler(backtest, (plan.program.env, agent, steps), *arguments)(*arguments)
            growth = np.diff(np.log(np.asarray(record.equity, np.float64)), axis=0).mean() * scale
            sharpe = performance(record, market.day[first : first + steps + 1]).sharpe
            turnover = float(np.asarray(record.turnover).mean())
            found[name] = {"growth": float(growth), "sharpe": sharpe or 0.0, "turnover": turnover}
        return found


def _changed(cell: Cell, learner: str, remedy: Remedy) -> Cell:
    """The cell with the settings of a row."""
    config = with_values(cell.config, {**remedy.settings, "algorithm": learner}, "remedy")
    return dataclasses.replace(cell, config=config)


def _key(cell: Cell, remedy: Remedy, index: int, copy: int) -> Any:
    """All that a training depends on."""
    alone = dataclasses.replace(remedy, policies=1, folds=False, averaged="", learners=())
    return cell.name, cell.config.algorithm, cell.config.seed, index, copy, repr(alone)


def _schedule(config: TrainConfig) -> Schedule:
    """Train to the end; nothing is validated."""
    return Schedule(config.save_freq, validate=False, max_rejected=config.ppo.max_rejected_updates)


def _training_market(cell: Cell, remedy: Remedy) -> Market:
    """The market of a cell as a remedy changes it."""
    market = cell.market
    if remedy.resampled:
        assert cell.bars is not None
        paths = resampled(cell.bars, market.splits.train, cell.clock, cell.config.seed, remedy.recent)
        market = prepare_market(cell.config, lambda times: _all_of(len(times)), cell.bars, lambda bars: paths)
    return blurred(market, remedy, cell.config.seed) if remedy.noise or remedy.zeroed else market


def _with_costs(env_params: MarketParams, remedy: Remedy) -> MarketParams:
    """The parameters with all costs times those of a remedy."""
    rules = dataclasses.replace(env_params.rules, cost_multiplier=scalar(remedy.costs))
    return dataclasses.replace(env_params, rules=rules)


def _in_scale(policy: Policy, start: Policy) -> Policy:
    """A policy of another market with the size of trades of this one."""
    scale = start.params[SPECIALIST]["log_trade_scale"]
    return Policy({SPECIALIST: {**policy.params[SPECIALIST], "log_trade_scale": scale}}, policy.normalizers)


def _mean(classes: Sequence[Found]) -> Found:
    """Figures of one seed: the mean over the classes."""
    return {
        part: {key: statistics.fmean(found[part][key] for found in classes) for key in classes[0][part]}
        for part in classes[0]
    }


def _figures(found: Sequence[Found], base: Sequence[Found]) -> dict[str, Any]:
    """Figures of a row over seeds, and its lead over the base."""
    unseen = [one["unseen"] for one in found]
    return {
        "growth": interval_of([one["growth"] for one in unseen]),
        "sharpe": interval_of([one["sharpe"] for one in unseen]),
        "turnover": statistics.fmean(one["turnover"] for one in unseen),
        "ahead": paired(unseen, [one["unseen"] for one in base]),
        "gap": paired([one["seen"] for one in found], unseen),
        "by_seed": list(found),
    }


def _print(where: str, name: str, row: dict[str, Any]) -> None:
    def text(interval: dict[str, float], by: float = 1000.0) -> str:
        return f"{interval['mean'] * by:+7.2f} ± {interval['half_width'] * by:5.2f}"

    growth, ahead, gap = row["growth"], row["ahead"], row["gap"]
    print(
        f"{where:<20} {name:<28} growth x 1000 {text(growth)}, Sharpe {text(row['sharpe'], 1.0)},"
        f" ahead {text(ahead['growth'])} and {text(ahead['sharpe'], 1.0)},"
        f" gap {text(gap['growth'])}  {row['turnover']:.4f}  {row['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
