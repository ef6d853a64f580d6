"""Backtest records made by hand."""

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord, Tally


def record(equity, **changes) -> BacktestRecord:
    """Of an equity curve ``[L + 1, P]``; everything else zero or as given."""
    steps, paths = equity.shape[0] - 1, equity.shape[1]
    columns = {name: np.zeros((steps, paths)) for name in ("reward", "exposure", "turnover", "costs", "swap")}
    fixed = {"terminated": np.zeros(paths, bool), "budgets": np.ones((steps, paths, 1)), "risk_cuts": {}}
    decided = {"real": np.ones(1, bool), "wanted": tally(np.zeros((steps, paths, 1))), "allocation": None}
    return BacktestRecord(equity=equity, **{**columns, **fixed, **decided, **changes})


def tally(values, lower=-0.99) -> Tally:
    """Of ``[L, P, M]``, every bar counted."""
    mean = values.mean(axis=0)
    return Tally(
        bars=np.full(values.shape[1], float(len(values))),
        low=(values <= lower).sum(axis=0),
        high=(values >= 0.99).sum(axis=0),
        mean=mean,
        squares=((values - mean) ** 2).sum(axis=0),
    )
