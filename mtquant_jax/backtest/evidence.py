"""How much of what a training found is handed on: as much as bars that it has not seen bear out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from mtquant_jax.statistics.returns import sharpe_ratio, sharpe_standard_error
from mtquant_jax.storage.records import JsonRecord

_BLOCK = 5  # days whose mean counts as one observation: daily differences of a policy resemble each other
_TYPICAL = 10.0  # standard errors by which an edge that exists is ahead: the deviation of the slab
_NORMAL = NormalDist()


@dataclasses.dataclass(frozen=True)
class Reading(JsonRecord):
    """How a policy did over some days, paths pooled."""

    sharpe: float | None  # annual; None where flat
    sharpe_standard_error: float | None
    per_year: float  # mean return of a year, share of equity
    days: int  # of all paths

    @classmethod
    def of(cls, returns: Sequence[np.ndarray], days_per_year: float) -> Reading:
        """Of daily returns ``[D, P]`` of several spans."""
        every = np.concatenate([found.ravel() for found in returns])
        return cls(
            sharpe=sharpe_ratio(every, days_per_year),
            sharpe_standard_error=sharpe_standard_error(every, days_per_year),
            per_year=float(np.mean(every)) * days_per_year,
            days=int(every.size),
        )


@dataclasses.dataclass(frozen=True)
class Ahead(JsonRecord):
    """By how much one policy is ahead of another on the same days."""

    per_year: float  # difference of the mean returns of a year, share of equity
    standard_error: float  # of it, of means over five days; 0 where both are the same
    days: int  # of all paths

    @property
    def ratio(self) -> float:
        """Standard errors by which it is ahead; 0 where both are the same."""
        return self.per_year / self.standard_error if self.standard_error > 0.0 else 0.0

    @classmethod
    def of(cls, differences: Sequence[np.ndarray], days_per_year: float) -> Ahead:
        """Of daily differences ``[D, P]`` of several spans."""
        blocks = np.concatenate([_blocks(found) for found in differences])
        error = float(np.std(blocks, ddof=1) / math.sqrt(len(blocks))) if len(blocks) > 1 else math.inf
        mean = float(np.mean(np.concatenate([found.ravel() for found in differences])))
        return cls(mean * days_per_year, error * days_per_year, sum(found.size for found in differences))


@dataclasses.dataclass(frozen=True)
class Evidence(JsonRecord):
    """What decided what a training hands on, and how large."""

    candidates: int  # policies that might have been handed on
    timesteps: int  # after which the one that is was saved
    ahead: Ahead  # of the anchor, on bars that it was not trained on: those of the validation split and of all folds
    folds: int  # parts of the training split that the training was repeated without
    tilt: float  # share of the tilt that is handed on
    train: Reading | None  # of what is handed on, before its tilt was cut, on parts of the training split
    out_of_fold: Reading | None  # of the trainings that had not seen them, on the same bars; None without folds
    validation: Reading  # of what is handed on, before its tilt was cut
    policies: int = 1  # whose weights what is handed on is the mean of


def tilt_of(ratio: float, trials: int = 1) -> float:
    """Share of a tilt to hand on: the probability that there is something to it, or 0 where it is below a half.

    A policy is ahead of the anchor by as many standard errors as ``ratio`` says. Either there is nothing to it, and
    the ratio is standard normal or lower, or there is an edge, positive and normal of deviation 10. Before the data
    the odds are one to the number of settings that were tried (spike and slab; Johnstone and Silverman 2004).
    """
    if not math.isfinite(ratio) or ratio <= 0.0:
        return 0.0
    spread = 1.0 + _TYPICAL**2
    shrunk = _TYPICAL**2 / spread
    log_odds = 0.5 * shrunk * ratio**2 - 0.5 * math.log(spread) + math.log(2.0 * _NORMAL.cdf(ratio * math.sqrt(shrunk)))
    probability = 1.0 / (1.0 + trials * math.exp(-min(log_odds, 50.0)))
    return round(probability, 3) if probability >= 0.5 else 0.0


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means over whole blocks of days ``[D // 5 x P]``, or over all of fewer days, of daily values ``[D, P]``."""
    count = max(len(values) // _BLOCK, 1)
    whole = values[: count * _BLOCK]
    return np.mean(whole.reshape(count, -1, values.shape[1]), axis=1).ravel()
