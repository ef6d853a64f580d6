"""Turns the bars of a file into its stretches of poor quality: no spread, frozen volume, bars of another length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile, format_time
from mtquant_jax.market.bars.timeframes import timeframe_name

_FROZEN = 100  # bars in a row with the same volume; ticks of a market that trades differ
_OTHER_LENGTH = 30  # bars in a row that are all of another length than those of the file
_REGULAR = 0.6  # share of their steps that are equal; the others are weekends and gaps
_ALIGNED = 0.95  # share of them that begin at the same fraction of their length
_INTERRUPTED = 24  # bars that may interrupt a stretch
_LONGEST = 8 * 86_400


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The bars of a file that have something in common, and where most of them lie."""

    count: int  # bars, of the whole file
    share: float  # of all bars of the file
    first: int  # open of the first bar of the longest stretch, seconds since 1970-01-01 UTC; 0 without any
    last: int  # open of its last bar
    length: int  # bars in it that have it in common

    def in_words(self) -> str:
        """``5,617 of 12,482 bars (45.0%), all of them from 2022-01-02 22:00 to 2022-11-25 18:00``."""
        where = f"from {format_time(self.first)} to {format_time(self.last)}"
        how_many = "all" if self.length == self.count else f"{self.length:,}"
        total = round(self.count / self.share)
        return f"{self.count:,} of {total:,} bars ({self.share:.1%}), {how_many} of them {where}"


@dataclasses.dataclass(frozen=True)
class OtherLength:
    """Bars in a row that are longer or shorter than those of their file."""

    seconds: int  # from bar to bar
    first: int  # open of the first, seconds since 1970-01-01 UTC
    last: int  # open of the last
    bars: int


@dataclasses.dataclass(frozen=True)
class Stretches:
    """What is poor in the bars of one file."""

    zero_spread: Stretch
    frozen_volume: Stretch
    overlapping: Stretch  # bars that begin before the bar above ends
    other_lengths: tuple[OtherLength, ...]


def stretches_of(file: BarFile) -> Stretches:
    """Find the stretches of a file; bars that are not tradable are left out."""
    keep = np.ones(len(file.timestamps), bool) if file.tradable is None else file.tradable
    times, volume = file.timestamps[keep], file.volume[keep]
    spread = np.ones(len(times)) if file.spread is None or not file.spread.any() else file.spread[keep]
    return Stretches(
        zero_spread=_stretch(spread == 0, times),
        frozen_volume=_stretch(_frozen(volume), times),
        overlapping=_stretch(np.concatenate([[False], np.diff(times) < file.interval]), times),
        other_lengths=other_lengths(file),
    )


def _stretch(found: np.ndarray, times: np.ndarray) -> Stretch:
    places = np.flatnonzero(found)
    if not len(places):
        return Stretch(0, 0.0, 0, 0, 0)
    breaks = np.flatnonzero(np.diff(places) > _INTERRUPTED)
    begins, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(places) - 1]])
    longest = int(np.argmax(ends - begins))
    first, last = int(begins[longest]), int(ends[longest])
    return Stretch(
        count=len(places),
        share=len(places) / len(times),
        first=int(times[places[first]]),
        last=int(times[places[last]]),
        length=last - first + 1,
    )


def _runs(same: np.ndarray, least: int) -> Iterator[tuple[int, int]]:
    """Yield first and last index, inclusive, of the runs of True that have at least so many."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8))).reshape(-1, 2)
    for first, end in edges[edges[:, 1] - edges[:, 0] >= least]:
        yield int(first), int(end) - 1


def _frozen(volume: np.ndarray) -> np.ndarray:
    """``[R]`` bool, the bars in long runs of one volume, in a file that has volumes at all."""
    found = np.zeros(len(volume), bool)
    if not volume.any():
        return found
    same = volume[1:] == volume[:-1]
    for first, last in _runs(same, _FROZEN - 1):
        found[first : last + 2] = True
    return found


def other_lengths(file: BarFile) -> tuple[OtherLength, ...]:
    """The long runs without a step of the file's interval in which nearly all bars are of one other length.

    Files of `data convert` have none: a bar that is missing in one of them is there and not tradable.
    """
    times, found = file.timestamps, []
    step = np.diff(times)
    for first, last in _runs(step != file.interval, _OTHER_LENGTH):
        lengths, counts = np.unique(step[first : last + 1], return_counts=True)
        usual = int(lengths[np.argmax(counts)])
        phase = np.unique(times[first : last + 2] % usual, return_counts=True)[1].max()
        regular = counts.max() >= _REGULAR * (last - first + 1) and phase >= _ALIGNED * (last - first + 2)
        if regular and usual < _LONGEST:
            found.append(OtherLength(usual, int(times[first]), int(times[last + 1]), last - first + 2))
    return tuple(found)


def quality_notices(file: BarFile, found: Stretches) -> list[str]:
    """Notices about overlapping bars, bars of another length, and volume that is frozen for a time.

    Volume that never moves is shown by `data check` alone: nobody expects made-up bars to have another.
    """
    notices = []
    if 0 < found.frozen_volume.share < 1:
        notices.append(f"{file.name}: the volume does not move on {found.frozen_volume.in_words()}.")
    if found.overlapping.count:
        notices.append(
            f"{file.name}: {found.overlapping.in_words()} begin before the {timeframe_name(file.interval)} bar above "
            "them ends."
        )
    notices += [
        f"{file.name}: {one.bars:,} bars from {format_time(one.first)} to {format_time(one.last)} are "
        f"{timeframe_name(one.seconds)} bars among {timeframe_name(file.interval)} bars."
        for one in found.other_lengths
    ]
    return notices
