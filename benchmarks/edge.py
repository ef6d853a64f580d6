"""Does training find an edge in markets that have one, and none in markets without? All phases, default settings.

    python benchmarks/edge.py [--seeds 10] [--markets planted driftless regimes]
    python benchmarks/edge.py --markets driftless --specialists-only --settings benchmarks/long_specialists.yaml

Every algorithm trains on the same markets; specialists, portfolios and how capital follows edges are then compared seed
by seed. Ten seeds of one market take about ten minutes per algorithm on 2 cores; on `regimes` only phases 1 and 2 are
trained and evaluated.
The second command trains specialists ten times longer than the defaults do.

Every seed has its own market, initial networks and noise; the package's own pipeline trains the three phases and
selects checkpoints on the validation split. The selected policies then trade, in whole lots, on a fresh market of
another seed (16 paths x 5,759 bars) and are compared, seed by seed, with rules and between phases. Sharpe ratios are
annual, of daily returns. Intervals are 95 % confidence intervals of the mean over seeds (Student's t).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from recording import RESULTS, shares, store

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.baselines import InverseVolatilityAllocation, baselines
from mtquant_jax.backtest.performance import performance
from mtquant_jax.backtest.trading import BacktestRecord, backtest
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.market.synthetic.generator import edge_states
from mtquant_jax.market.synthetic.scenarios import find_scenario
from mtquant_jax.settings.config import MarketConfig, TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_params import class_params, evaluation_params, portfolio_params
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.trainer import PORTFOLIO, TrainedHierarchy, train_phases

MARKETS: dict[str, dict[str, Any]] = {
    "planted": {"edge": 0.12},
    "driftless": {"edge": 0.0},
    "regimes": {"edge": 0.2, "scenario": "edge_regimes"},
}
FRESH = 100_000  # added to the seed of a training for its evaluation market
_STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262, 12: 2.201, 16: 2.131, 20: 2.093}
# Pairs that are compared seed by seed; the first is expected to be ahead of the second.
_PAIRS = (
    ("after phase 2", "equal allocation"),
    ("after phase 2", "inverse-volatility allocation"),
    ("after phase 3", "after phase 2"),
    ("phase 3, its last policy", "after phase 2"),
    ("after phase 3", "phase 3 without coordination"),
    ("phase 3 without coordination", "after phase 2"),
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train all phases on markets with and without an edge."""

    seeds: int = 10
    """Trainings per market; 2 to 6, 8, 10, 12, 16 or 20."""
    first_seed: int = 10
    """First seed; the defaults were chosen on smaller ones."""
    markets: tuple[str, ...] = tuple(MARKETS)
    """Any of planted, driftless and regimes."""
    specialists_only: bool = False
    """Train and evaluate only phase 1."""
    algorithms: tuple[str, ...] = ("ppo", "pathwise")
    """Algorithms to train with; differences are those to the first."""
    settings: Path | None = None
    """YAML file that overrides defaults, to try other settings."""
    name: str = "edge"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train, evaluate, print and store."""
    check_seeds(arguments.seeds)
    prepare_jax()
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    if arguments.settings is not None:
        config = apply(config, read_yaml(arguments.settings), str(arguments.settings))
    figures, compiler, first = {}, Compiler(), arguments.first_seed
    for name in arguments.markets:
        began = time.perf_counter()
        setting = dataclasses.replace(config, market=dataclasses.replace(MarketConfig(), **MARKETS[name]))
        # With switching edges, phase 2 is evaluated and phase 3 is left out.
        wanted = (1,) if arguments.specialists_only else (1, 2) if name == "regimes" else (1, 2, 3)
        trials: dict[str, list[Trial]] = {algorithm: [] for algorithm in arguments.algorithms}
        for seed in range(first, first + arguments.seeds):
            for algorithm, found in trials.items():
                found.append(_trial(dataclasses.replace(setting, algorithm=algorithm), seed, compiler, wanted))
        figures[name] = {algorithm: _summary(setting, found) for algorithm, found in trials.items()}
        for algorithm, row in figures[name].items():
            _print(f"{name}, {algorithm}", row)
        base, *others = arguments.algorithms
        for other in others:
            figures[name][f"{other} - {base}"] = _ahead(trials[other], trials[base])
            _print_ahead(f"{name}, {other} less {base}", figures[name][f"{other} - {base}"])
        figures[name]["seconds"] = time.perf_counter() - began
    store(arguments.name, {"seeds": arguments.seeds, "first_seed": first, "markets": figures}, arguments.results)


def check_seeds(seeds: int) -> None:
    """Refuse a number of seeds without a known quantile, before any training."""
    if seeds not in _STUDENT:
        raise SystemExit(f"error: --seeds {seeds}: choose from {', '.join(map(str, _STUDENT))}")


@dataclasses.dataclass
class Trial:
    """Evaluation of one training."""

    portfolio: dict[str, dict[str, Any]]  # policy -> performance
    classes: dict[str, dict[str, dict[str, Any]]]  # class -> policy or rule -> performance
    follows: dict[str, float]  # correlation of capital with the true edge, if it switches
    conflicts: dict[str, float]  # gradient conflicts of phase 3, by specialist


def _trial(setting: TrainConfig, seed: int, compiler: Compiler, wanted: tuple[int, ...]) -> Trial:
    """Train the wanted phases with one seed and evaluate on a market of another."""
    began = time.perf_counter()
    config = dataclasses.replace(setting, seed=seed)
    market = prepare_market(config)
    judge = Judge(config, market, prepare_market(dataclasses.replace(config, seed=seed + FRESH)))
    (trained,) = train_phases(config, market, phases=wanted, compiler=compiler)
    switching = config.market.scenario == "edge_regimes"  # which evaluates the meta-controller, not the specialists
    judged = () if switching else market.universe.classes
    classes = {c.name: judge.specialist(index, trained.policies.specialists[index]) for index, c in enumerate(judged)}
    portfolio, follows, conflicts = (
        _hierarchy(trained, market, judge, compiler, switching) if 2 in wanted else ({}, {}, {})
    )
    rows = portfolio or {name: found["specialist"] for name, found in classes.items()}
    sharpe = ", ".join(f"{name} {figures['sharpe'] or 0.0:+.2f}" for name, figures in rows.items())
    seconds = time.perf_counter() - began
    print(f"  seed {seed} {config.algorithm}: {sharpe}  {follows}  {seconds:.0f} s", file=sys.stderr, flush=True)
    return Trial(portfolio, classes, follows, conflicts)


def _hierarchy(
    trained: TrainedHierarchy, market: Market, judge: Judge, compiler: Compiler, switching: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, float], dict[str, float]]:
    """Performance of the portfolio by phase, correlation of capital with switching edges, and gradient conflicts."""
    config, before = trained.config, trained.policies
    assert before.meta is not None
    frozen = phases.stacked_specialists(before.specialists)
    policies = {
        "equal allocation": phases.hierarchy(frozen, phases.equal_allocation(before.meta)),
        "after phase 2": phases.hierarchy(frozen, before.meta),
    }
    conflicts = {}
    if before.portfolio is not None:
        policies["after phase 3"] = before.portfolio
        policies["phase 3, its last policy"] = trained.outcomes[3][PORTFOLIO].last_policy
        metrics = trained.outcomes[3][PORTFOLIO].training_metrics
        conflicts = {agent: row["gradient_conflict"] for agent, row in metrics.items() if "gradient_conflict" in row}
    if config.market.edge > 0.0 and not switching:
        joint = dataclasses.replace(config.joint_training, project_conflicts=False)
        plain = dataclasses.replace(config, joint_training=joint)
        (uncoordinated,) = train_phases(plain, market, phases=(3,), start=before, compiler=compiler)
        assert uncoordinated.policies.portfolio is not None
        policies["phase 3 without coordination"] = uncoordinated.policies.portfolio
    records = {what: judge.portfolio(policy) for what, policy in policies.items()}
    records["inverse-volatility allocation"] = judge.portfolio(policies["equal allocation"], inverse_volatility=True)
    portfolio = {what: judge.figures(record) for what, record in records.items()}
    follows = {"after phase 2": judge.follows(records["after phase 2"])} if switching else {}
    return portfolio, follows, conflicts


class Judge:
    """Trades policies on a fresh market; figures are in the units of the training market."""

    def __init__(self, config: TrainConfig, trained: Market, fresh: Market) -> None:
        self._config, self._trained, self._fresh = config, trained, fresh
        self._first = LOOK_BACK_BARS
        self._num_steps = len(fresh.timestamps) - self._first - 1
        self._days = fresh.day[self._first :]

    def portfolio(self, policy: Policy, inverse_volatility: bool = False) -> BacktestRecord:
        """Trade a whole hierarchy, or its specialists under inverse-volatility allocation."""
        agent: Any = phases.hierarchy_agent(self._config, self._fresh)
        agent = InverseVolatilityAllocation(agent) if inverse_volatility else agent
        env_params = evaluation_params(portfolio_params(self._config, self._fresh))
        return self._trade(phases.hierarchy_env(self._config), agent, policy, env_params)

    def specialist(self, index: int, policy: Policy) -> dict[str, dict[str, Any]]:
        """Figures of a specialist alone, and of the rules for comparison."""
        plan = phases.plan_specialist(self._config, self._fresh, index)
        env_params = evaluation_params(class_params(self._config, self._fresh, index))
        scale = float(self._trained.class_scale[index])
        rules = {rule.name: rule for rule in baselines(_RANDOM_TURNOVER)}
        found = {
            "specialist": self.figures(self._trade(plan.program.env, plan.program.agent, policy, env_params), scale)
        }
        for name, rule in rules.items():
            record = self._trade(plan.program.env, rule, Policy({}, {}), env_params)
            found[name] = self.figures(record, scale)
        return found

    def figures(self, record: BacktestRecord, scale: float | None = None) -> dict[str, Any]:
        """Annual Sharpe ratio, net growth per bar in typical returns, total return, drawdown, exposure and turnover."""
        scale = self._trained.portfolio_scale if scale is None else scale
        equity = np.asarray(record.equity, np.float64)
        found = performance(record, self._days)
        return {
            "sharpe": found.sharpe,
            "growth": float(np.diff(np.log(equity), axis=0).mean() * scale),
            "return": found.total_return,
            "drawdown": found.max_drawdown,
            "exposure": found.mean_exposure,
            "turnover": float(np.asarray(record.turnover).mean()),
        }

    def follows(self, record: BacktestRecord) -> float:
        """Correlation over bars, paths and classes between a class's share of the capital and its true edge."""
        market = self._config.market
        states = edge_states(
            jax.random.key(self._config.seed + FRESH),
            market.num_paths,
            market.num_bars,
            self._fresh.universe.symbols,
            find_scenario(market.scenario),
            self._fresh.universe.classes,
        )
        # Budgets of step l are decided at the close of bar first + l and earn the edge of the next bar.
        held = np.swapaxes(np.asarray(record.budgets, np.float64), 0, 1)  # [P, L, S]
        share = held / held.sum(axis=-1, keepdims=True)
        true = np.asarray(states)[:, self._first + 1 :][:, : share.shape[1]].astype(np.float64)
        both = [x - x.mean(axis=(0, 1)) for x in (share, true)]
        return float((both[0] * both[1]).sum() / math.sqrt((both[0] ** 2).sum() * (both[1] ** 2).sum()))

    def _trade(self, env: Any, agent: Any, policy: Policy, env_params: Any) -> BacktestRecord:
        first = jnp.asarray(self._first, jnp.int32)
        return backtest(env, agent, self._num_steps, policy.params, policy.normalizers, env_params, first)


_RANDOM_TURNOVER = 0.1  # relative weight per bar and instrument, about the turnover of specialists


def _summary(setting: TrainConfig, trials: Sequence[Trial]) -> dict[str, Any]:
    """Aggregate figures over seeds, and paired differences."""
    names = list(trials[0].portfolio)
    portfolio = {name: _over_seeds([t.portfolio[name] for t in trials]) for name in names}
    classes: dict[str, Any] = {}
    for name, found in trials[0].classes.items():
        rows = {what: _over_seeds([t.classes[name][what] for t in trials]) for what in found}
        against = {
            what: paired([t.classes[name]["specialist"] for t in trials], [t.classes[name][what] for t in trials])
            for what in found
            if what != "specialist"
        }
        classes[name] = {"rows": rows, "specialist_against": against}
    pairs = {
        f"{one} - {other}": paired([t.portfolio[one] for t in trials], [t.portfolio[other] for t in trials])
        for one, other in _PAIRS
        if one in names and other in names
    }
    follows = {what: interval_of([t.follows[what] for t in trials]) for what in trials[0].follows}
    conflicts = {what: statistics.fmean(t.conflicts[what] for t in trials) for what in trials[0].conflicts}
    return {
        "market": dataclasses.asdict(setting.market),
        "portfolio": portfolio,
        "paired": pairs,
        "classes": classes,
        "capital_follows_edge": follows,
        "gradient_conflict": conflicts,
    }


def _ahead(ones: Sequence[Trial], others: Sequence[Trial]) -> dict[str, Any]:
    """By how much one algorithm is ahead of another, seed by seed."""
    rows = {
        f"portfolio, {what}": [[t.portfolio[what] for t in trials] for trials in (ones, others)]
        for what in ones[0].portfolio
    }
    rows |= {
        f"{name} specialist": [[t.classes[name]["specialist"] for t in trials] for trials in (ones, others)]
        for name in ones[0].classes
    }
    found: dict[str, Any] = {what: paired(one, other) for what, (one, other) in rows.items()}
    for what in ones[0].follows:
        pairs = zip(ones, others, strict=True)
        found[f"capital follows edge, {what}"] = interval_of([a.follows[what] - b.follows[what] for a, b in pairs])
    return found


def _over_seeds(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "sharpe": shares([row["sharpe"] or 0.0 for row in rows]) | interval_of([row["sharpe"] or 0.0 for row in rows]),
        "growth": interval_of([row["growth"] for row in rows]),
        "return": statistics.fmean(row["return"] for row in rows),
        "drawdown": statistics.fmean(row["drawdown"] for row in rows),
        "exposure": statistics.fmean(row["exposure"] for row in rows),
        "turnover": statistics.fmean(row["turnover"] for row in rows),
    }


def paired(ones: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Intervals of differences seed by seed; the Sharpe ratio of a flat account counts as 0."""
    return {
        key: interval_of([(one[key] or 0.0) - (other[key] or 0.0) for one, other in zip(ones, others, strict=True)])
        for key in ("sharpe", "growth")
    }


def interval_of(values: Sequence[float]) -> dict[str, float]:
    """Mean and the half width of its 95 % interval."""
    half = _STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": statistics.fmean(values), "half_width": half}


def _print(name: str, figures: dict[str, Any]) -> None:
    def text(interval: dict[str, float]) -> str:
        return f"{interval['mean']:+.3f} ± {interval['half_width']:.3f}"

    lines = [f"{name}: Sharpe ratio, net growth per bar (typical returns), turnover"]
    for what, row in figures["portfolio"].items():
        lines.append(f"  {what:<32} {text(row['sharpe'])}  {text(row['growth'])}  {row['turnover']:.4f}")
    for what, pair in figures["paired"].items():
        lines.append(f"  {what:<60} {text(pair['sharpe'])}  {text(pair['growth'])}")
    for asset_class, found in figures["classes"].items():
        for what, row in found["rows"].items():
            against = found["specialist_against"].get(what)
            paired = f"  specialist ahead by {text(against['growth'])}" if against else ""
            sharpe, growth = text(row["sharpe"]), text(row["growth"])
            lines.append(f"  {asset_class:<12} {what:<24} {sharpe}  {growth}  {row['turnover']:.4f}{paired}")
    for what, interval in figures["capital_follows_edge"].items():
        lines.append(f"  {what}: correlation of capital with the true edge {text(interval)}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _print_ahead(name: str, found: dict[str, Any]) -> None:
    print(f"{name}:", file=sys.stderr)
    for what, row in found.items():
        shown = row if "mean" not in row else {"": row}
        text = "  ".join(f"{key} {one['mean']:+.3f} ± {one['half_width']:.3f}" for key, one in shown.items())
        print(f"  {what:<40} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
