"""Folds of a walk-forward -> stitched out-of-sample track records over several seeds, their table and their figure."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtquant_jax.analysis.walk_forward import PORTFOLIOS, Fold
from mtquant_jax.analysis.wording import interval_text
from mtquant_jax.evaluation.intervals import CONFIDENCE, bootstrap, interval
from mtquant_jax.evaluation.rules import BASELINES
from mtquant_jax.evaluation.significance import interquartile_mean
from mtquant_jax.evaluation.statistics import sharpe_ratio, trading_days_per_year
from mtquant_jax.evaluation.track_record import track_record
from mtquant_jax.training.records import replacing, write_json

LAST = PORTFOLIOS[-1]
_SHOWN = (*PORTFOLIOS, "buy and hold", "inverse volatility", "momentum of 120 bars")
# Okabe and Ito (2008): told apart by colour-blind readers.
_COLOURS = ("#999999", "#56B4E9", "#0072B2", "#E69F00", "#009E73", "#D55E00")
_DASHES = (":", "--", "-", "--", "-.", ":")


@dataclasses.dataclass(frozen=True)
class Stitched:
    """All folds one after the other."""

    names: tuple[str, ...]
    returns: dict[str, np.ndarray]  # name -> [D, seeds or 1] daily returns
    days: np.ndarray  # [D] days since 1970
    days_per_year: float
    sharpe: dict[str, np.ndarray]  # name -> [1 + R] interquartile mean over seeds: of the sample, then of the draws
    block_length: float  # of the bootstrap, days


def stitch(folds: Sequence[Fold], draws: int = 1000) -> Stitched:
    """Daily returns of the test ranges in order; every fold begins with a flat account."""
    names = (*PORTFOLIOS, *BASELINES)
    returns = {name: np.concatenate([fold.returns[name] for fold in folds]) for name in names}
    days = np.concatenate([np.unique(fold.day)[-len(fold.returns[LAST]) :] for fold in folds])
    per_year = trading_days_per_year(np.concatenate([fold.day for fold in folds]))
    seeds = returns[LAST].shape[1]
    columns = {f"{name} {seed}": column for name, r in returns.items() for seed, column in enumerate(r.T)}
    drawn = bootstrap(columns, per_year, draws)
    # Days are resampled for all together; so are seeds, for another training would have had others.
    chosen = np.random.default_rng(0).integers(seeds, size=(draws, seeds))
    chosen = np.concatenate([np.arange(seeds)[None], chosen])
    sharpe = {}
    for name, record in returns.items():
        first = drawn.names.index(f"{name} 0")
        own = np.nan_to_num(drawn.sharpe[:, first : first + record.shape[1]], nan=0.0)
        taken = np.take_along_axis(own, np.minimum(chosen, record.shape[1] - 1), axis=1)
        sharpe[name] = np.array([interquartile_mean(row) for row in taken])
    return Stitched(names, returns, days, per_year, sharpe, drawn.block_length)


def result(folds: Sequence[Fold], stitched: Stitched, seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of a walk-forward, as ``walk_forward.json`` holds them."""
    return {
        "seeds": list(seeds),
        "folds": [_of_fold(number, fold) for number, fold in enumerate(folds, start=1)],
        "overall": {name: _overall(stitched, name) for name in stitched.names},
        "ahead_of": {
            name: {"sharpe": dataclasses.asdict(interval(stitched.sharpe[LAST] - stitched.sharpe[name]))}
            for name in stitched.names
            if name != LAST
        },
        "trading_days": len(stitched.days),
        "trading_days_per_year": stitched.days_per_year,
        "bootstrap": {"confidence": CONFIDENCE, "mean_block_days": stitched.block_length},
        "verdict": _verdict(folds, stitched, seeds),
    }


def lines(told: dict[str, Any]) -> Iterator[str]:
    """A table for the terminal."""
    width = 26
    yield told["verdict"]
    yield ""
    yield f"{'':<{width}}" + "".join(f"{'fold ' + str(fold['fold']):>20}" for fold in told["folds"]) + f"{'all':>26}"
    periods = (f"{fold['test']['first'][:7]}..{fold['test']['last'][2:7]}" for fold in told["folds"])
    yield f"{'test':<{width}}" + "".join(f"{period:>20}" for period in periods)
    for name, overall in told["overall"].items():
        cells = (fold["portfolios"][name]["sharpe"] for fold in told["folds"])
        whole = interval_text(overall["intervals"]["sharpe"]) if overall["sharpe"] is not None else "none (flat)"
        yield f"{name:<{width}}" + "".join(f"  {_range(cell):>18}" for cell in cells) + f"  {whole:>24}"
    yield ""
    seeds = f"{len(told['seeds'])} seed{'s' * (len(told['seeds']) != 1)}"
    yield f"Sharpe ratio, interquartile mean over {seeds} (range); all: of the stitched folds [95 %, seeds and days]"
    yield f"{LAST} minus"
    for name, difference in told["ahead_of"].items():
        yield f"  {name:<{width - 2}}{interval_text(difference['sharpe'], signed=True):>24}"


def write(folds: Sequence[Fold], stitched: Stitched, told: dict[str, Any], capital: float, folder: Path) -> None:
    """Write ``walk_forward.json``, ``equity.csv`` and ``walk_forward.png``."""
    write_json(folder / "walk_forward.json", told)
    with replacing(folder / "equity.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        seeds = [f"{name} seed {seed}" for name in PORTFOLIOS for seed in told["seeds"]]
        writer.writerow(["day", "fold", *seeds, *BASELINES])
        of_fold = np.repeat(np.arange(len(folds)) + 1, [len(fold.returns[LAST]) for fold in folds])
        equity = {name: np.cumprod(1.0 + returns, axis=0) * capital for name, returns in stitched.returns.items()}
        for row, day in enumerate(stitched.days.astype("datetime64[D]")):
            values = (value for name in stitched.names for value in equity[name][row])
            writer.writerow([day, of_fold[row], *(f"{value:.2f}" for value in values)])
    figure = draw(folds, stitched)
    with replacing(folder / "walk_forward.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw(folds: Sequence[Fold], stitched: Stitched) -> Figure:
    """Stitched equity with the range over seeds, and the Sharpe ratio fold by fold."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=(2, 1))
        days = stitched.days.astype("datetime64[D]")
        for name, colour, dash in zip(_SHOWN, _COLOURS, _DASHES, strict=True):
            equity = 100.0 * (np.cumprod(1.0 + stitched.returns[name], axis=0) - 1.0)
            above.plot(days, equity.mean(axis=1), dash, color=colour, label=name, linewidth=2 if name == LAST else 1.3)
            if name == LAST and equity.shape[1] > 1:
                above.fill_between(days, equity.min(axis=1), equity.max(axis=1), color=colour, alpha=0.2)
        ends = np.cumsum([len(fold.returns[LAST]) for fold in folds])
        for number, start in enumerate((0, *ends[:-1]), start=1):
            first = days[start]
            above.axvline(first, color="#888888", linewidth=0.6)
            above.text(first, 1.0, f" fold {number}", transform=above.get_xaxis_transform(), va="top", color="#666666")
        above.axhline(0.0, color="#444444", linewidth=0.8)
        above.set_ylabel("return since the start, %")
        above.set_title("Out of sample, fold by fold (mean over seeds; band: their range)", loc="left")
        figure.legend(ncols=len(_SHOWN), frameon=False, loc="outside lower center")
        places = np.arange(len(folds))
        for index, (name, colour) in enumerate(zip(_SHOWN, _COLOURS, strict=True)):
            sharpes = [[p["sharpe"] or 0.0 for p in fold.performance[name]] for fold in folds]
            middle = np.array([interquartile_mean(np.array(s)) for s in sharpes])
            spread = np.array([[m - min(s), max(s) - m] for m, s in zip(middle, sharpes, strict=True)]).T
            place = places + (index - (len(_SHOWN) - 1) / 2.0) * 0.13
            below.bar(place, middle, 0.12, color=colour, yerr=np.maximum(spread, 0.0), ecolor="#444444", capsize=2)
        below.axhline(0.0, color="#444444", linewidth=0.8)
        labels = [f"fold {n + 1}\n{_month(f.timestamps[0])} to {_month(f.timestamps[-1])}" for n, f in enumerate(folds)]
        below.set_xticks(places, labels)
        below.set_ylabel("Sharpe ratio")
        below.set_title("Interquartile mean over seeds; whiskers: their range", loc="left")
    return figure


def _of_fold(number: int, fold: Fold) -> dict[str, Any]:
    return {
        "fold": number,
        **{part: {"first": _moment(first), "last": _moment(last)} for part, (first, last) in fold.times.items()},
        "validation_sharpe": fold.validation,
        "portfolios": {
            name: {
                "sharpe": _over_seeds([p["sharpe"] for p in told]),
                "total_return": _over_seeds([p["total_return"] for p in told]),
                "max_drawdown": _over_seeds([p["max_drawdown"] for p in told]),
                "seeds": told,
            }
            for name, told in fold.performance.items()
        },
    }


def _over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Interquartile mean and range; a flat account counts as 0."""
    numbers = [value or 0.0 for value in values]
    return {
        "interquartile_mean": interquartile_mean(np.array(numbers)),
        "lowest": min(numbers),
        "highest": max(numbers),
    }


def _overall(stitched: Stitched, name: str) -> dict[str, Any]:
    returns = stitched.returns[name]
    by_seed = [sharpe_ratio(column, stitched.days_per_year) for column in returns.T]
    return {
        **track_record(returns, stitched.days_per_year),
        "sharpe_over_seeds": _over_seeds(by_seed) | {"seeds": by_seed},
        "intervals": {"sharpe": dataclasses.asdict(interval(stitched.sharpe[name]))},
    }


def _verdict(folds: Sequence[Fold], stitched: Stitched, seeds: Sequence[int]) -> str:
    sharpe = interval(stitched.sharpe[LAST])
    period = f"{len(folds)} folds, out of sample {_month(folds[0].timestamps[0])} to {_month(folds[-1].timestamps[-1])}"
    flat = all(sharpe_ratio(column, stitched.days_per_year) is None for column in stitched.returns[LAST].T)
    if flat or sharpe.value is None or sharpe.low is None or sharpe.high is None:
        return f"{period}: no portfolio traded; they are flat."
    meaning = "not distinguishable from flat"
    if sharpe.excludes_zero:
        meaning = "better than flat" if sharpe.value > 0.0 else "worse than flat"
    told = f"Sharpe {sharpe.value:.2f} [{sharpe.low:.1f}, {sharpe.high:.1f}]"
    return f"{period}, {len(seeds)} seed{'s' * (len(seeds) != 1)}: {told}; {meaning}."


def _range(cell: dict[str, Any]) -> str:
    if cell["lowest"] == cell["highest"]:
        return f"{cell['interquartile_mean']:.2f}"
    return f"{cell['interquartile_mean']:.2f} ({cell['lowest']:.1f}, {cell['highest']:.1f})"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M")


def _month(seconds: Any) -> str:
    return _moment(seconds)[:7]
