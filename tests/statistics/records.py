"""Backtest records made by hand."""

import numpy as np

from mtquant_jax.backtest.trading import BINS, BacktestRecord, Tally


def record(equity, **changes) -> BacktestRecord:
    """Of an equity curve ``[L + 1, P]``; everything else zero or as given."""
    steps, paths = equity.shape[0] - 1, equity.shape[1]
    columns = {name: np.zeros((steps, paths)) for name in ("reward", "exposure", "turnover", "costs", "swap")}
    fixed = {"terminated": np.zeros(paths, bool), "budgets": np.ones((steps, paths, 1)), "risk_cuts": {}}
    decided = {"real": np.ones(1, bool), "wanted": tally(np.zeros((steps, paths, 1))), "allocation": None}
    return BacktestRecord(equity=equity, **{**columns, **fixed, **decided, **changes})


def tally(values, least=-1.0) -> Tally:
    """Of ``[L, P, M]`` from ``least`` to 1, every bar counted."""
    mean = values.mean(axis=0)
    edges = np.linspace(least, 1.0, BINS + 1)
    return Tally(
        bars=np.full(values.shape[1], float(len(values))),
        low=(values <= least + 0.01).sum(axis=0),
        high=(values >= 0.99).sum(axis=0),
        mean=mean,
        squares=((values - mean) ** 2).sum(axis=0),
        bins=np.apply_along_axis(lambda of_one: np.histogram(of_one, edges)[0], 0, values).transpose(1, 2, 0),
    )
