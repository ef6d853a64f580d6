"""Confidence intervals of daily track records by the stationary block bootstrap, all records resampled together.

The bootstrap of Politis and Romano (JASA 1994), with the block length of Politis and White (2004, corrected 2009), is
that of the package ``arch``, which the extra ``eval`` installs. Percentile intervals have their nominal coverage over a
year of independent days; over 60 days they cover about 91 % instead of 95 %.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError

CONFIDENCE = 0.95
"""Confidence of every interval."""

_NORMAL_QUANTILE = 1.96  # of the normal distribution, at `CONFIDENCE`
_FEWEST_DRAWS = 100  # fewest draws that a user may set
_NO_ARCH = "intervals need the package arch, which is not installed; pip install arch plotly (the extra eval)"
_NO_RISK = 1e-7  # daily standard deviation under which a record is flat, as in `statistics.returns`


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its interval at `CONFIDENCE`; None if undefined, such as the Sharpe ratio of a flat account."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def is_above_zero(self) -> bool:
        """True if the whole interval is above zero."""
        return self.low is not None and self.low > 0.0

    @property
    def is_below_zero(self) -> bool:
        """True if the whole interval is below zero."""
        return self.high is not None and self.high < 0.0


def normal_interval(value: float | None, standard_error: float | None) -> Interval:
    """The interval of a normally distributed estimate; none where there is no standard error."""
    if value is None or standard_error is None:
        return Interval(None, None, None)
    return Interval(value, value - _NORMAL_QUANTILE * standard_error, value + _NORMAL_QUANTILE * standard_error)


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Bootstrap intervals of one record."""

    sharpe: Interval  # annual
    annual_return: Interval  # arithmetic mean of daily returns x days per year
    max_drawdown: Interval  # share of the peak, mean over paths; for periods of this length and distribution


@dataclasses.dataclass(frozen=True)
class Difference:
    """Bootstrap intervals of one record minus another on the same days."""

    sharpe: Interval
    annual_return: Interval


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Draws of all records on the same resampled days."""

    names: tuple[str, ...]
    block_length: float  # mean, days
    sharpe: np.ndarray  # [1 + R, K] the sample, then R draws; NaN for a flat record
    annual_return: np.ndarray  # [1 + R, K]
    max_drawdown: np.ndarray  # [1 + R, K]

    def intervals(self, name: str) -> Intervals:
        """Intervals of one record."""
        column = self.names.index(name)
        return Intervals(
            sharpe=interval(self.sharpe[:, column]),
            annual_return=interval(self.annual_return[:, column]),
            max_drawdown=interval(self.max_drawdown[:, column]),
        )

    def difference(self, name: str, other: str) -> Difference:
        """Intervals of one record minus another, draw by draw; the Sharpe ratio of a flat account counts as 0."""
        one, two = self.names.index(name), self.names.index(other)
        sharpe = np.nan_to_num(self.sharpe, nan=0.0)
        return Difference(
            sharpe=interval(sharpe[:, one] - sharpe[:, two]),
            annual_return=interval(self.annual_return[:, one] - self.annual_return[:, two]),
        )


def check_draws(draws: int) -> None:
    """Check the prerequisites of intervals before any trading starts.

    Raises:
        UserError: too few ``draws`` for the ends of an interval, or ``arch`` is not installed.
    """
    if importlib.util.find_spec("arch") is None:
        raise UserError(_NO_ARCH)
    if draws < _FEWEST_DRAWS:
        raise UserError(f"`draws` {draws}: at least {_FEWEST_DRAWS} are required for meaningful ends of an interval")


def require_arch() -> Any:
    """Import the bootstrap of ``arch``, which takes a second.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from arch import bootstrap
    except ImportError:
        raise UserError(_NO_ARCH) from None
    return bootstrap


def bootstrap(returns: Mapping[str, np.ndarray], days_per_year: float, draws: int = 1000, seed: int = 0) -> Bootstrap:
    """Resample the days of all records together.

    Args:
        returns: name -> daily simple returns ``[D]``, or ``[D, P]`` of P paths on the same days, at least 3 days.
        days_per_year: trading days per year of the bars.
        draws: R, at least 1.
        seed: seed of the resampling.

    Raises:
        UserError: ``arch`` is not installed.
        ValueError: no record, records of different or other shapes, fewer than 3 days, a return that is not finite, or
            no draw.
    """
    library = require_arch()
    if draws < 1:
        raise ValueError(f"the bootstrap needs at least 1 draw; got {draws}")
    records = [np.asarray(record, np.float64) for record in returns.values()]
    shapes = [record.shape for record in records]
    if len(set(shapes)) != 1 or len(shapes[0]) not in (1, 2) or shapes[0][0] < 3 or not records[0].size:
        raise ValueError(f"records must be [D] or [D, P], of equal shape, over at least 3 days; got {shapes}")
    stacked = np.stack([record.reshape(len(record), -1) for record in records], axis=-1)  # [D, P, K]
    if not np.isfinite(stacked).all():
        strange = [name for name, record in zip(returns, records, strict=True) if not np.isfinite(record).all()]
        raise ValueError(f"returns are not finite in {', '.join(strange)}")
    length = _block_length(library, stacked)
    resampler = library.StationaryBootstrap(length, stacked, seed=seed)
    rows = [_statistics(stacked, days_per_year)]
    rows += [_statistics(positional[0], days_per_year) for positional, _ in resampler.bootstrap(draws)]
    sharpe, annual, drawdown = (np.stack(values) for values in zip(*rows, strict=True))
    return Bootstrap(tuple(returns), length, sharpe, annual, drawdown)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What so many days are expected to bring, by the days of a record."""

    total_return: Interval
    """Compounded; its value is the median."""
    max_drawdown: float
    """Share of the peak that is not passed with `CONFIDENCE`."""


def expected_over(returns: np.ndarray, days: int, draws: int = 1000, seed: int = 0) -> Expected:
    """What ``days`` days like those of a record bring: the first of each resample of it; at most as many as it has.

    Args:
        returns: ``[D]`` daily simple returns, at least 3 days.
        days: at least 1.
        draws: R, at least 1.
        seed: of the resampling.

    Raises:
        UserError: ``arch`` is not installed.
    """
    library = require_arch()
    record = np.asarray(returns, np.float64).reshape(-1, 1, 1)
    resampler = library.StationaryBootstrap(_block_length(library, record), record, seed=seed)
    drawn = np.stack([positional[0][:days, 0, 0] for positional, _ in resampler.bootstrap(draws)])  # [R, days]
    equity = np.cumprod(1.0 + drawn, axis=1)
    drawdowns = (1.0 - equity / np.maximum(np.maximum.accumulate(equity, axis=1), 1.0)).max(axis=1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, median, high = np.quantile(equity[:, -1] - 1.0, [tail, 0.5, 1.0 - tail])
    return Expected(Interval(float(median), float(low), float(high)), float(np.quantile(drawdowns, CONFIDENCE)))


def _block_length(library: Any, stacked: np.ndarray) -> float:
    """Return the longest optimal block length of the records; paths are averaged, because only days are resampled."""
    means = stacked.mean(axis=1)
    moving = means[:, means.std(axis=0) > _NO_RISK]
    if not moving.shape[1] or len(moving) < 20:
        return max(1.0, len(means) ** (1.0 / 3.0))
    with np.errstate(divide="ignore", invalid="ignore"):  # autocorrelations of a record that stops moving
        optimal = np.asarray(library.optimal_block_length(moving)["stationary"], np.float64)
    return float(np.clip(np.nanmax(optimal), 1.0, max(1.0, len(means) / 4.0)))


def _statistics(returns: np.ndarray, days_per_year: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute annual Sharpe ratio, annual return and maximum drawdown ``[K]`` of ``[D, P, K]``, over days and paths."""
    count = returns.shape[0] * returns.shape[1]
    mean = returns.mean(axis=(0, 1))
    deviation = np.sqrt(((returns - mean) ** 2).sum(axis=(0, 1)) / (count - 1))
    flat = deviation < _NO_RISK
    sharpe = np.where(flat, np.nan, mean / np.where(flat, 1.0, deviation) * np.sqrt(days_per_year))
    growth = 1.0 + returns
    ruined = np.logical_or.accumulate(growth <= 0.0, axis=0)
    growth[1:] = np.where(ruined[:-1], 1.0, growth[1:])  # a ruined account no longer trades
    equity = np.cumprod(growth, axis=0)
    peaks = np.maximum(np.maximum.accumulate(equity, axis=0), 1.0)
    drawdown = (1.0 - equity / peaks).max(axis=0).mean(axis=0)
    return sharpe, mean * days_per_year, drawdown


def interval(draws: np.ndarray) -> Interval:
    """Compute the percentile interval of draws, of which the first is the estimate itself.

    An undefined draw counts as 0. If such draws were left out, the rest would all hold the few days on which a record
    moved, and one lucky day would differ significantly from zero.

    Args:
        draws: ``[1 + R]``, NaN if undefined.
    """
    value = float(draws[0])
    if not np.isfinite(value):
        return Interval(None, None, None)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.nan_to_num(draws[1:], nan=0.0), [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))
