"""Turns the returns of several bar files into the lags at which they correlate: files on one clock do so at none.

Returns of instruments that have anything in common correlate in the same bar, if at all. Where two files correlate
some bars apart and not in the same bar, one of them is on another clock, or stamps its bars at their end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.market.bars.clocks import BETWEEN, SEASONS, SUMMER, WINTER, season_of

_HOUR, _DAY = 3600, 86_400
_LONGEST = 26 * _HOUR  # no two clocks are further apart
_MOST_CELLS = 150_000  # newest ones that are compared: 17 years of hours; more would only cost time
_FEWEST = 200  # pairs of returns that a correlation is computed from
_STANDARD_ERRORS = 8.0  # of 1 / sqrt(n): beyond chance among all pairs and lags, with returns that cluster
_LEAST = 0.1  # correlation below which nothing is concluded
_ZERO = 1 / 3  # of the correlation at the lag: up to this, there is none in the same bar
ALWAYS = ""
"""Name of the whole common history."""
_CLIP = 5.0  # standard deviations: single jumps must not decide


@dataclasses.dataclass(frozen=True)
class Lag:
    """Two files whose returns correlate some time apart and not in the same bar."""

    early: int  # position of the file whose stamps come first
    late: int  # position of the other
    seconds: int  # by which `late` follows `early`
    interval: int  # seconds per bar that was compared
    correlation: float  # of returns this time apart
    at_zero: float  # of returns in the same bar
    when: str  # the returns that are compared: ALWAYS, a season or years
    share: float  # of all returns of the two files

    @property
    def is_of_years(self) -> bool:
        """True if the lag is found neither over all bars nor in a season, but in some years."""
        return self.when not in (ALWAYS, *SEASONS)


def find_lags(files: Sequence[BarFile]) -> list[Lag]:
    """Find the pairs of files that correlate at a lag only: over all their bars, in a season, or in some years."""
    found: dict[tuple[int, int], Lag] = {}
    usual = max((file.interval for file in files), default=0)
    for interval in dict.fromkeys((usual, max(usual, _HOUR))):
        for lag in _lags(files, interval) if len(files) > 1 and 0 < interval <= _DAY else ():
            pair = min(lag.early, lag.late), max(lag.early, lag.late)
            before = found.setdefault(pair, lag)
            if before is not lag and before.is_of_years and lag.is_of_years and before.interval == interval:
                both = f"{before.when}, {lag.when}"
                found[pair] = dataclasses.replace(before, when=both, share=before.share + lag.share)
    return list(found.values())


def _lags(files: Sequence[BarFile], interval: int) -> Iterator[Lag]:
    last = max(int(file.timestamps[-1]) for file in files) // interval
    first = max(min(int(file.timestamps[0]) for file in files) // interval, last - _MOST_CELLS)
    returns = np.stack([_returns(file, interval, first, last) for file in files])  # [N, T]
    times = np.arange(first, last + 1) * interval
    whole = np.ones((len(files), len(files)))
    longest = 4 if interval < _HOUR else max(_LONGEST // interval, 2)
    for when, inside in _stretches(times, interval):
        part = returns[:, inside]
        if part.shape[1] < _FEWEST:
            continue
        correlations, pairs = _correlations(part, longest)
        whole = pairs[0] if when == ALWAYS else whole
        yield from _peaks(correlations, pairs, pairs[0] / np.maximum(whole, 1), interval, when)


def _stretches(times: np.ndarray, interval: int) -> Iterator[tuple[str, slice | np.ndarray]]:
    """Parts of the bars ``[T]`` to compare, with their names: all, the seasons, and years."""
    yield ALWAYS, slice(None)
    if interval == _DAY:
        return
    season = season_of(times)
    for one in (SUMMER, WINTER, BETWEEN):
        yield SEASONS[one], season == one
    years = times.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64)
    for year in np.unique(years) if years[0] != years[-1] else ():
        yield str(1970 + year), slice(*np.searchsorted(years, (year, year + 1)))


def _returns(file: BarFile, interval: int, first: int, last: int) -> np.ndarray:
    """Returns ``[T]`` of the cells first to last of a grid, in standard deviations; NaN without bars in two cells."""
    inside = slice(*np.searchsorted(file.timestamps, (first * interval, (last + 1) * interval)))
    keep = np.ones(inside.stop - inside.start, bool) if file.tradable is None else file.tradable[inside]
    cell, close = file.timestamps[inside][keep] // interval, file.close[inside][keep]
    ends = np.flatnonzero(np.diff(cell, append=cell[-1:] + 1))
    cell, close = cell[ends], np.log(close[ends])
    result = np.full(last - first + 1, np.nan)
    result[cell[1:] - first] = np.where(np.diff(cell) == 1, np.diff(close), np.nan)
    size = np.abs(result[np.isfinite(result) & (result != 0)])
    scale = 1.4826 * np.median(size) if len(size) else 1.0
    return np.clip(result / scale, -_CLIP, _CLIP)


def _correlations(returns: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of file i at t with file j at t + lag ``[1 + longest, N, N]``, and the pairs of returns in it."""
    known = np.isfinite(returns).astype(np.float32)
    values = np.nan_to_num(returns).astype(np.float32)
    correlations, pairs = [], []
    for lag in range(longest + 1):
        a, known_a = values[:, : returns.shape[1] - lag], known[:, : returns.shape[1] - lag]
        b, known_b = values[:, lag:], known[:, lag:]
        scale = np.sqrt(((a**2) @ known_b.T) * (known_a @ (b**2).T))
        correlations.append((a @ b.T) / np.maximum(scale, 1e-9))
        pairs.append(known_a @ known_b.T)
    return np.stack(correlations), np.stack(pairs)


def _peaks(correlations: np.ndarray, pairs: np.ndarray, share: np.ndarray, interval: int, when: str) -> Iterator[Lag]:
    """The pairs of files whose strongest correlation is at a lag, and stronger than chance and than that at none."""
    num_files = correlations.shape[1]
    for i, j in ((i, j) for i in range(num_files) for j in range(num_files) if i != j):
        lag = 1 + int(np.argmax(np.abs(correlations[1:, i, j])))
        peak, other = correlations[lag, i, j], np.abs(correlations[1:, j, i]).max()
        zero, count = correlations[0, i, j], int(pairs[lag, i, j])
        enough = count >= _FEWEST and abs(peak) >= max(_LEAST, _STANDARD_ERRORS / np.sqrt(count))
        if enough and abs(peak) > other and abs(zero) <= _ZERO * abs(peak):
            yield Lag(i, j, lag * interval, interval, float(peak), float(zero), when, float(share[i, j]))
