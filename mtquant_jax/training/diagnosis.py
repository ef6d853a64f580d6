"""Validation figures and the last training metrics -> plain sentences on what has collapsed, and what to try."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtquant_jax.backtest.performance import AllocationPerformance, Performance
from mtquant_jax.backtest.scenarios import ScenarioPerformance
from mtquant_jax.simulation.market_env import IN_MARKET
from mtquant_jax.statistics.significance import chance_bound

FLAT = 0.01
"""Share of bars in the market under which a policy counts as flat: what it earns on so few of them is chance."""

PINNED = 0.95
"""Share of bars at one bound from which a decision counts as pinned; the rest is the transient from the flat start."""

PINNED_INSTRUMENTS = 0.5
"""Share of an agent's instruments that are pinned from which it is: one index held all the time may be a decision."""

VANISHED, EXPLODED = 0.05, 3.0
"""Exploration noise, as a multiple of that at the start, under and over which it counts as lost: learning narrows it to
about a half; at a twentieth nothing new is tried, and at three times clipping decides and not the policy."""

ENOUGH_UPDATES = 10
"""Updates before which neither a critic nor the noise can be assessed: after fewer, both are still as initialised."""

LOSING = -1.0
"""Annual Sharpe ratio in a scenario under which a policy counts as losing there."""

ANCHORS = {
    "not_a_number": "a-result-is-not-a-number",
    "ruined": "a-policy-is-ruined",
    "flat": "a-policy-is-flat",
    "pinned": "a-policy-is-pinned-to-a-bound",
    "worse_than_flat": "a-policy-is-worse-than-flat",
    "scenario": "a-policy-loses-in-a-scenario",
    "exploration": "exploration-vanished-or-exploded",
    "critic": "a-critic-explains-nothing",
}
"""Kind of a finding -> its section in docs/troubleshooting.md."""

TO_DO = ". What to do: "
"""What divides a sentence into what was found and what to do."""

_OF_SEVERAL = {
    "not_a_number": "have a result that is not a number",
    "ruined": "were ruined or stopped out",
    "flat": "are flat",
    "pinned": "are pinned to a bound",
    "worse_than_flat": "are worse than flat",
    "scenario": "lose in some scenarios",
    "exploration": "have lost their exploration, or explore ever more",
    "critic": "have critics that explain nothing",
}
"""Kind of a finding -> what it says of several agents."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that went wrong."""

    agent: str
    kind: str  # a key of `ANCHORS`
    sentence: str  # what, and after `TO_DO` what to do


@dataclasses.dataclass(frozen=True)
class Group:
    """Findings of one kind with one remedy."""

    kind: str
    what: str
    to_do: str
    findings: tuple[Mapping[str, Any], ...]


def grouped(findings: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Findings as a summary has them, those of one kind with one remedy together, in the order of the first of each.

    Args:
        findings: fields of `Finding`, and ``phase``.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for finding in findings:
        to_do = finding["sentence"].partition(TO_DO)[2]
        groups.setdefault((finding["kind"], to_do), []).append(finding)
    return [Group(kind, _what(kind, found), to_do, tuple(found)) for (kind, to_do), found in groups.items()]


def _what(kind: str, findings: Sequence[Mapping[str, Any]]) -> str:
    """The whole of one finding; of several, which agents they are of."""
    if len(findings) == 1:
        return f"phase {findings[0]['phase']}: {findings[0]['sentence'].partition(TO_DO)[0]}"
    phases: dict[int, list[str]] = {}
    for finding in findings:
        phases.setdefault(finding["phase"], []).append(finding["agent"])
    who = "; ".join(f"phase {phase}: {' and '.join(agents)}" for phase, agents in phases.items())
    return f"{who} {_OF_SEVERAL[kind]}; the log has the figures"


def diagnose(
    agent: str,
    figures: Performance,
    classes: Mapping[str, Sequence[str]],
    continuous: Performance | None = None,
    allocator: str = "",
    places: Sequence[str] = (),
    note: str = "",
    looks: int = 1,
) -> list[Finding]:
    """Signs of collapse in the validation of a policy.

    Args:
        agent: whose figures these are.
        figures: of `performance`, in whole lots.
        classes: specialist -> its symbols, those whose positions are examined; in the order of the figures.
        continuous: the same figures without lot rounding, which reveal orders that are too small.
        allocator: who decides on the allocation, if the figures have one.
        places: where it can put capital, in the order of the figures: the classes, and cash last.
        note: said of the agent in brackets, such as where the policy comes from.
        looks: checkpoints validated, of which this is the best; the more, the further chance alone reaches.

    Returns:
        Findings, the one that explains most first; empty where nothing was found.
    """
    who = f"{agent} ({note})" if note else agent
    if not _all_finite((figures.total_return, figures.max_drawdown, figures.sharpe)):
        text = f"{who} has a result that is not a number on the validation split"
        return [_finding(agent, "not_a_number", text, "check its parameters and the prices: one has no number")]
    found = _ruined(agent, who, figures)
    if _is_flat(figures):
        found += _flat(agent, who, figures, continuous)
    else:
        for name, long, short in _positions(figures, classes):
            found += _pinned(name, f"{name} ({note})" if note else name, long, short)
    if figures.allocation:
        found += _pinned_allocation(allocator, figures.allocation, places)
    if not _is_flat(figures) and figures.total_return < 0.0:
        found += _worse_than_flat(agent, who, figures, looks)
    elif figures.scenarios:
        found += _losing_scenarios(agent, who, figures.scenarios)
    return found


def diagnose_training(agent: str, metrics: Mapping[str, float], updates: int) -> list[Finding]:
    """Signs of collapse in the last training metrics of an agent; ``metrics`` may lack those that it does not have."""
    if not _all_finite(metrics.values()):
        names = ", ".join(name for name, value in metrics.items() if not math.isfinite(value))
        text = f"{agent} ended its training with {names} not a number"
        return [
            _finding(agent, "not_a_number", text, "lower the learning rate or max_grad_norm of ppo, or of pathwise")
        ]
    if updates < ENOUGH_UPDATES:
        return []
    found = []
    if "action_std" in metrics:
        now, start = metrics["action_std"], metrics["action_std_at_start"]
        spread = f"its actions varied by {now:.2g} at the end of training and by {start:.2g} at the start"
        if now < VANISHED * start:
            text = f"{agent} has stopped exploring: {spread}, so it tries nothing new"
            found.append(_finding(agent, "exploration", text, "raise ppo.entropy_weight"))
        if now > EXPLODED * start:
            text = f"{agent} explores ever more: {spread}, so noise decides and not the policy"
            found.append(_finding(agent, "exploration", text, "lower ppo.entropy_weight"))
    explained = metrics.get("explained_variance", 1.0)
    if explained <= 0.0:
        text = (
            f"the critic of {agent} explained nothing at the end of training (explained variance {explained:.2f}), so "
            "its policy followed noise"
        )
        found.append(_finding(agent, "critic", text, "train longer, or lower the learning rate"))
    return found


def _ruined(agent: str, who: str, figures: Performance) -> list[Finding]:
    if not figures.terminated:
        return []
    text = f"{who} was ruined or stopped out on {figures.terminated} of {figures.paths} validation paths"
    return [_finding(agent, "ruined", text, "lower simulation.leverage or the limits of the risk layer")]


def _is_flat(figures: Performance) -> bool:
    """Whether it stayed out of its own accord: a ruined account is out of the market, too."""
    return not figures.terminated and (figures.time_in_market < FLAT or figures.mean_exposure < IN_MARKET)


def _flat(agent: str, who: str, figures: Performance, continuous: Performance | None) -> list[Finding]:
    profit = figures.total_return
    means = "its profit is exactly nothing" if profit == 0.0 else f"its profit of {_percent(profit, 3)} means nothing"
    if continuous is not None and not _is_flat(continuous):
        cause = (
            f". Without lot rounding it would be there on {_percent(continuous.time_in_market)}: its positions are "
            "smaller than half the smallest lot"
        )
        cure = "try a larger simulation.initial_capital"
        if continuous.total_return <= 0.0:
            cause += (
                f". A larger account would not help: it would end at {_percent(continuous.total_return, 2)}, of "
                f"which costs are {_percent(continuous.cost_share, 2)}"
            )
            cure = "proceed as for a policy that is worse than flat, which lot rounding hides"
    else:
        cause, cure = (
            "",
            "costs may be higher than what can be forecast: try a smaller simulation.cost_multiplier to see",
        )
    there = f"it was in the market on {_percent(figures.time_in_market)} of the validation bars"
    return [_finding(agent, "flat", f"{who} is flat: {there}, so {means}{cause}", cure)]


def _positions(
    figures: Performance, classes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Specialist, symbol -> share of bars fully long, and the same for short."""
    first = 0
    for name, symbols in classes.items():
        part = slice(first, first + len(symbols))
        long, short = figures.long_bound[part], figures.short_bound[part]
        yield name, dict(zip(symbols, long, strict=True)), dict(zip(symbols, short, strict=True))
        first = part.stop


def _pinned(agent: str, who: str, long: Mapping[str, float], short: Mapping[str, float]) -> list[Finding]:
    sides = [(symbol, "long", share) for symbol, share in long.items() if share >= PINNED]
    sides += [(symbol, "short", share) for symbol, share in short.items() if share >= PINNED]
    if not sides or len(sides) < PINNED_INSTRUMENTS * len(long):
        return []
    listed = ", ".join(f"{symbol} fully {side} on {_percent(share)}" for symbol, side, share in sides)
    text = f"{who} is pinned to a bound: it wants {listed} of the bars in the market, so it holds and does not trade"
    cure = (
        "the trend of the training split may outweigh all it forecasts: try a lower exploration_cost or "
        "learning_rate, or a market without that trend"
    )
    return [_finding(agent, "pinned", text, cure)]


def _pinned_allocation(agent: str, allocation: AllocationPerformance, names: Sequence[str]) -> list[Finding]:
    what = [
        f"{name} got more than 99 % of the capital on {_percent(share)} of the bars"
        for name, share in zip(names, allocation.capital_bound, strict=True)
        if share >= PINNED
    ]
    for share, limit in zip(allocation.risk_appetite_bound, ("below 1 %", "above 99 %"), strict=True):
        if share >= PINNED:
            what.append(f"its risk appetite was {limit} on {_percent(share)} of the bars")
    if not what:
        return []
    text = f"{agent} is pinned to a bound: {' and '.join(what)}, so it does not allocate any more"
    return [_finding(agent, "pinned", text, "try a smaller learning rate of phase 2")]


def _worse_than_flat(agent: str, who: str, figures: Performance, looks: int) -> list[Finding]:
    net, gross = _percent(figures.total_return, 2), figures.gross_return
    swap = figures.swap_share
    costs = (
        f"costs of {_percent(figures.cost_share, 2)} and swap {'paid' if swap < 0.0 else 'received'} of "
        f"{_percent(abs(swap), 2)}"
    )
    if gross > 0.0:
        how = f"it earned {_percent(gross, 2)} before costs, and {costs} made {net} of it"
        if -swap > figures.cost_share:
            cure = (
                "it may be right before costs, but pays more for holding overnight than for trading: check the swaps "
                "of the instruments, or leave out those that are dear to hold"
            )
        else:
            cure = (
                "it may be right before costs, but trades too much for it: train longer, or lower "
                "specialists.NAME.exploration_cost"
            )
    else:
        how = f"it lost {_percent(-gross, 2)} before costs already and ends at {net} after {costs}"
        cure = "what it learnt may not hold on other bars: train on more of them, or stop earlier"
    text = f"{who} is worse than flat: {how}{_chance(figures, looks)}"
    return [_finding(agent, "worse_than_flat", text, cure)]


def _losing_scenarios(agent: str, who: str, scenarios: Mapping[str, ScenarioPerformance]) -> list[Finding]:
    """Of a policy that gains over all scenarios together: those in which it loses."""
    losing = [
        f"{name} ({_percent(figures.total_return, 2)}, Sharpe {figures.sharpe:+.1f})"
        for name, figures in scenarios.items()
        if figures.sharpe is not None and figures.total_return < 0.0 and figures.sharpe < LOSING
    ]
    if not losing:
        return []
    text = f"{who} gains over all scenarios together but loses in {', '.join(losing)}"
    return [_finding(agent, "scenario", text, "train longer, or do not trade it in such a market")]


def _chance(figures: Performance, looks: int) -> str:
    """Whether the loss may be chance, given how many checkpoints were looked at."""
    sharpe, error = figures.sharpe, figures.sharpe_standard_error
    if sharpe is None or error is None:
        return ""
    bound = chance_bound(looks)
    ratio = f"Sharpe {sharpe:+.2f} ± {error:.2f}"
    best = "of one checkpoint" if looks <= 1 else f"of the best of {looks} checkpoints"
    if sharpe >= -bound * error:
        return f". The loss {best} is {_errors(sharpe, error)} from zero ({ratio}), and up to {bound:.1f} may be chance"
    return f". The loss {best} is {_errors(sharpe, error)} from zero ({ratio}), more than the {bound:.1f} of chance"


def _errors(sharpe: float, error: float) -> str:
    return f"{abs(sharpe) / error:.1f} standard errors"


def _finding(agent: str, kind: str, what: str, to_do: str) -> Finding:
    return Finding(agent, kind, f"{what}{TO_DO}{to_do}; see docs/troubleshooting.md#{ANCHORS[kind]}")


def _all_finite(values: Any) -> bool:
    return all(value is None or math.isfinite(value) for value in values)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100.0 * share:.{digits}f} %"
