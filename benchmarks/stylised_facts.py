"""Similarity of the synthetic market to real hourly bars: stylised facts of both as JSON, a table, and one figure.

    python benchmarks/stylised_facts.py [--data-dir ../shared/data/market/h1] [--num-paths 32]

The synthetic market is drawn without an edge, in paths as long as the history. Facts are computed per path, so the
range over paths is the random variation of a history of this length.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from recording import RESULTS, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.market.synthetic.stylised_facts import LAGS, StylisedFacts, stylised_facts, typical

_ROOT = Path(__file__).resolve().parents[1]
_REAL, _SYNTHETIC, _INK, _QUIET, _GRID = "#0072B2", "#D55E00", "#222222", "#555555", "#dddddd"  # Okabe and Ito
_LOW, _HIGH = 0.1, 0.9
_BEFORE = "2025-04-01"  # the tariff weeks of April 2025 are the largest event in the history


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare the synthetic market with real bars."""

    data_dir: Path = _ROOT.parent / "shared" / "data" / "market" / "h1"
    """Directory of hourly bar files."""
    num_paths: int = 32
    """Synthetic histories."""
    seed: int = 0
    """Seed of the synthetic market."""
    figure: Path = _ROOT / "docs" / "images" / "stylised_facts.png"
    """Path of the figure."""
    results: Path = RESULTS
    """Folder of the result file."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Facts of the history and of its part before a crisis; median and range over synthetic histories."""

    real: StylisedFacts
    before: StylisedFacts  # of the history up to _BEFORE
    mid: StylisedFacts
    low: StylisedFacts
    high: StylisedFacts


def main(arguments: Arguments) -> None:
    """Measure, print, store and draw."""
    prepare_jax()
    instruments = load_instruments()
    symbols = tuple(load_calibration()["instruments"])
    real_bars, _ = load_bars(arguments.data_dir, symbols, instruments)
    early_bars, _ = load_bars(arguments.data_dir, symbols, instruments, end=_BEFORE)
    num_bars = len(real_bars.timestamps)
    seconds = []
    for seed in range(4):  # the size of the default training
        start = time.perf_counter()
        jax.block_until_ready(generate(jax.random.key(seed), 16, 6000, 0.12, None, symbols, instruments).close)
        seconds.append(time.perf_counter() - start)
    bars = generate(jax.random.key(arguments.seed), arguments.num_paths, num_bars, 0.0, None, symbols, instruments)
    paths = [stylised_facts(bars, path) for path in range(arguments.num_paths)]
    found = Comparison(
        real=stylised_facts(real_bars),
        before=stylised_facts(early_bars),
        mid=typical(paths),
        low=typical(paths, _LOW),
        high=typical(paths, _HIGH),
    )
    rows = _rows(found)
    print(_markdown(rows), file=sys.stderr)
    figures = {
        "history": {"bars": num_bars, "folder": arguments.data_dir.name, "before": _BEFORE},
        "synthetic": {"paths": arguments.num_paths, "bars": num_bars, "range": [_LOW, _HIGH]},
        "generate_16x6000_seconds": {"first_call": seconds[0], "later_calls": seconds[1:]},
        "lags": list(LAGS),
        "summary": rows,
        "by_instrument": {name: _plain(getattr(found, name)) for name in ("real", "before", "mid", "low", "high")},
    }
    store("stylised_facts", figures, arguments.results)
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    _draw(found).savefig(arguments.figure, dpi=110, facecolor="white")
    print(f"written to {arguments.figure}", file=sys.stderr)


def _plain(facts: StylisedFacts) -> dict[str, Any]:
    """Facts as rounded JSON; undefined ones (a break of a currency pair) are null."""

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return None if not np.isfinite(value) else float(f"{value:.4g}")

    names = [field.name for field in dataclasses.fields(facts) if field.name != "symbols"]
    return {"symbols": list(facts.symbols), **{name: rounded(getattr(facts, name).tolist()) for name in names}}


def _rows(found: Comparison) -> list[dict[str, Any]]:
    """Rows of the table: per fact and instrument the real value, and the median and the range of synthetic ones."""

    def row(fact: str, name: str, index: Any) -> dict[str, Any]:
        values = [getattr(facts, name)[index] for facts in (found.real, found.mid, found.low, found.high)]
        return {"fact": fact, **dict(zip(("real", "synthetic", "low", "high"), map(_short, values), strict=True))}

    rows = []
    for number, symbol in enumerate(found.real.symbols):
        facts = [
            ("kurtosis", "kurtosis", number),
            ("99 % of abs(r)", "tail_quantiles", (number, 1)),
            ("99.9 % of abs(r)", "tail_quantiles", (number, 2)),
            *(
                (f"autocorrelation of r^2, lag {lag}", "square_autocorrelation", (number, i))
                for i, lag in enumerate(LAGS)
            ),
            ("weekend gap", "weekend_gap", number),
            ("break gap", "break_gap", number),
        ]
        rows += [{"symbol": symbol, **row(*fact)} for fact in facts]
    return rows


def _short(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Format the table with a column per instrument: real / synthetic median."""
    symbols = list(dict.fromkeys(row["symbol"] for row in rows))
    lines = ["| fact | " + " | ".join(symbols) + " |", "|---" * (len(symbols) + 1) + "|"]
    for fact in dict.fromkeys(row["fact"] for row in rows):
        cells = [next(row for row in rows if row["symbol"] == s and row["fact"] == fact) for s in symbols]
        shown = ["-" if c["real"] is None else f"{c['real']:g} / {c['synthetic']:g}" for c in cells]
        lines.append(f"| {fact} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _draw(found: Comparison) -> Figure:
    """Draw six panels: blue circles are real, orange diamonds and bars the median and range of synthetic histories."""
    figure = Figure(figsize=(13.0, 8.2), layout="constrained")
    grid = figure.subplots(2, 3)
    _by_instrument(grid[0, 0], found, "kurtosis", None, "Kurtosis of hourly returns", 3.0)
    _by_instrument(grid[0, 1], found, "tail_quantiles", 2, "99.9 % quantile of |return|, in deviations", 3.29)
    _by_lag(grid[0, 2], found)
    _correlations(grid[1, 0], found)
    _by_hour(grid[1, 1], found)
    _by_instrument(grid[1, 2], found, "weekend_gap", None, "Weekend gaps, in hourly volatilities", None)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    return figure


def _by_instrument(
    axes: Axes, found: Comparison, name: str, column: int | None, title: str, normal: float | None
) -> None:
    real, mid, low, high = (
        getattr(facts, name) if column is None else getattr(facts, name)[:, column]
        for facts in (found.real, found.mid, found.low, found.high)
    )
    place = np.arange(len(real))
    axes.errorbar(
        place + 0.13,
        mid,
        yerr=[mid - low, high - mid],
        fmt="D",
        color=_SYNTHETIC,
        markersize=5,
        linewidth=1.8,
        label=f"synthetic, median and {_LOW:.0%} to {_HIGH:.0%} of histories",
    )
    axes.plot(place - 0.13, real, "o", color=_REAL, markersize=7, label="real bars")
    if normal is not None:
        axes.axhline(normal, color=_QUIET, linewidth=1.2, linestyle=(0, (4, 3)), label="normal distribution")
    if name == "kurtosis":
        axes.set_yscale("log")
        axes.set_yticks([3, 5, 10, 20, 40], ["3", "5", "10", "20", "40"])
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0.0)
    axes.set_xticks(place, found.real.symbols, rotation=45, ha="right")
    _tidy(axes, title)


def _by_lag(axes: Axes, found: Comparison) -> None:
    place = np.arange(len(LAGS))
    for start, label, offset in ((0, "currency pairs", 0.0), (5, "indices", 0.0)):
        members = slice(start, start + 3)
        real, mid, low, high = (
            facts.square_autocorrelation[members].mean(axis=0)
            for facts in (found.real, found.mid, found.low, found.high)
        )
        axes.fill_between(place + offset, low, high, color=_SYNTHETIC, alpha=0.15, linewidth=0)
        style = "-" if start else (0, (4, 2))
        axes.plot(place, mid, marker="D", markersize=5, color=_SYNTHETIC, linestyle=style, linewidth=1.6)
        axes.plot(place, real, marker="o", markersize=6, color=_REAL, linestyle=style, linewidth=1.6)
        before = found.before.square_autocorrelation[members].mean(axis=0)
        axes.plot(
            place, before, marker="o", markersize=6, markerfacecolor="white", color=_REAL, linestyle=style, alpha=0.6
        )
        axes.annotate(label, (0, real[0]), xytext=(6, 6), textcoords="offset points", fontsize=9, color=_INK)
    axes.axhline(0.0, color=_QUIET, linewidth=1.2, linestyle=(0, (4, 3)))
    hollow = {"marker": "o", "markerfacecolor": "white", "color": _REAL, "alpha": 0.6}
    axes.plot([], [], label="real, before April 2025", **hollow)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.set_xticks(place, [f"{lag} h" for lag in LAGS])
    _tidy(axes, "Autocorrelation of squared returns")


def _correlations(axes: Axes, found: Comparison) -> None:
    pairs = np.triu_indices(len(found.real.symbols), 1)
    real, mid, low, high = (facts.correlations[pairs] for facts in (found.real, found.mid, found.low, found.high))
    axes.plot([-0.6, 1.0], [-0.6, 1.0], color=_QUIET, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.errorbar(
        real, mid, yerr=[mid - low, high - mid], fmt="D", color=_SYNTHETIC, markersize=4, linewidth=1.2, alpha=0.9
    )
    axes.set_xlabel("real", color=_QUIET)
    axes.set_ylabel("synthetic", color=_QUIET)
    _tidy(axes, "Correlations of the 28 pairs")


def _by_hour(axes: Axes, found: Comparison) -> None:
    hours = np.arange(24)
    for symbol, style in (("EURUSD", (0, (4, 2))), ("SPX500", "-")):
        number = found.real.symbols.index(symbol)
        axes.plot(
            hours,
            found.mid.hour_profile[number],
            color=_SYNTHETIC,
            linestyle=style,
            linewidth=1.6,
            marker="D",
            markersize=3,
        )
        axes.plot(
            hours,
            found.real.hour_profile[number],
            color=_REAL,
            linestyle=style,
            linewidth=1.6,
            marker="o",
            markersize=4,
        )
    axes.plot([], [], color=_INK, linestyle=(0, (4, 2)), label="EURUSD")
    axes.plot([], [], color=_INK, linestyle="-", label="SPX500")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.set_xticks(range(0, 24, 4))
    axes.set_xlabel("hour of the day, UTC", color=_QUIET)
    axes.set_ylim(bottom=0.0)
    _tidy(axes, "Volatility by hour, 1 is the average")


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, fontweight="bold", color=_INK, loc="left", pad=8)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_QUIET, labelsize=9.5, length=0)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
