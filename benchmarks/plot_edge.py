"""Figure of the results of `edge.py`: Sharpe ratios on fresh markets, seed by seed, from allocation to allocation.

    python benchmarks/plot_edge.py [--output docs/images/edge.png]

It draws the existing files among edge_planted.json, edge_driftless.json and edge_regimes.json.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import tyro
from recording import RESULTS

matplotlib.use("agg")

_TITLES = {"planted": "planted edge", "driftless": "no edge", "regimes": "edges that switch on and off"}
_ORDER = ("equal allocation", "inverse-volatility allocation", "after phase 2", "after phase 3")
_LABELS = ("equal\nallocation", "inverse\nvolatility", "after\nphase 2", "after\nphase 3")
_GREY, _BLUE = "0.75", "#0072B2"  # Okabe and Ito's blue, which colour-blind readers can distinguish


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw the results of edge.py."""

    results: Path = RESULTS
    """Folder of edge_planted.json, edge_driftless.json and edge_regimes.json."""
    output: Path = RESULTS.parents[1] / "docs" / "images" / "edge.png"
    """Path of the figure."""


def main(arguments: Arguments) -> None:
    """Draw one panel per market: a grey line per seed, blue for mean and 95 % interval."""
    files = {market: arguments.results / f"edge_{market}.json" for market in _TITLES}
    files = {market: path for market, path in files.items() if path.exists()}
    if not files:
        raise SystemExit(f"error: no edge_MARKET.json in {arguments.results}; run benchmarks/edge.py first")
    figure, axes = plt.subplots(1, len(files), figsize=(3.5 * len(files), 3.8), layout="constrained", squeeze=False)
    for panel, (market, path) in zip(axes[0], files.items(), strict=True):
        content = json.loads(path.read_text(encoding="utf-8"))
        of_market = content["markets"][market]
        found = of_market.get("ppo", of_market)["portfolio"]
        shown = [(label, found[what]["sharpe"]) for what, label in zip(_ORDER, _LABELS, strict=True) if what in found]
        places = range(len(shown))
        for seed in range(content["seeds"]):
            panel.plot(places, [sharpe["seeds"][seed] for _, sharpe in shown], color=_GREY, linewidth=0.9, zorder=1)
        means, halves = ([sharpe[key] for _, sharpe in shown] for key in ("mean", "half_width"))
        panel.errorbar(places, means, halves, fmt="o", color=_BLUE, capsize=4, linewidth=1.6, zorder=2)
        panel.axhline(0.0, color="black", linewidth=0.8)
        panel.set_xticks(list(places), [label for label, _ in shown])
        panel.set_xlim(-0.4, len(shown) - 0.6)
        panel.set_title(_TITLES[market], fontsize=11)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("annual Sharpe ratio on a fresh market")
    figure.suptitle("Each grey line is a training; blue: mean and its 95 % interval", fontsize=10, color="0.3")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=150)
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
