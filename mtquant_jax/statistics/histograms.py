"""Histograms over a known range, on the host."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How a number that lies between ``least`` and 1 spread."""

    least: float
    counts: np.ndarray  # [B] how often it lay in each of the equal parts of the range, the lowest first
    mean: float
    standard_deviation: float

    @property
    def edges(self) -> np.ndarray:
        """``[B + 1]`` bounds of the parts."""
        return np.linspace(self.least, 1.0, len(self.counts) + 1)
