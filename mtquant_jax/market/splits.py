"""Turns a number of bars into train, validation and test ranges in time order, with gaps between them."""

from __future__ import annotations

from mtquant_jax.errors import UserError
from mtquant_jax.types import Splits

_MIN_EVALUATION_BARS = 50


def split(
    num_bars: int,
    train_fraction: float,
    validation_fraction: float,
    gap_bars: int,
    episode_length: int,
    warm_up: int,
) -> Splits:
    """Half-open ranges [first, last) of bars: train, a gap, validation, a gap, test.

    The fractions cut the whole length; a gap is taken from the start of the later range, so that features with a
    look-back up to `gap_bars` share no bar with the range before. Training starts after `warm_up` bars, when the
    features' averages have settled.

    Raises UserError for fractions that leave no room, a gap shorter than the warm-up, a training range shorter than
    an episode (episode_length + 2 bars: the first observation and the fill of the last order) or a validation or test
    range under 50 bars.
    """
    if not (train_fraction > 0 and validation_fraction > 0 and train_fraction + validation_fraction < 1):
        raise UserError(
            f"--market.train-fraction {train_fraction:g} and --market.validation-fraction {validation_fraction:g} must "
            "be above 0 and leave a part of the bars for the test"
        )
    if gap_bars < warm_up:
        raise UserError(
            f"--market.gap-bars {gap_bars}: must be at least {warm_up}, the look-back of the features, so that splits "
            "share no bar"
        )
    train_end = round(num_bars * train_fraction)
    validation_end = round(num_bars * (train_fraction + validation_fraction))
    splits = Splits(
        train=(warm_up, train_end),
        validation=(train_end + gap_bars, validation_end),
        test=(validation_end + gap_bars, num_bars),
    )
    train_bars = max(0, splits.train[1] - splits.train[0])
    if train_bars < episode_length + 2:
        raise UserError(
            f"Of {num_bars} bars {train_bars} are left for training after {warm_up} bars of warm-up, but an episode of "
            f"{episode_length} bars needs {episode_length + 2}; use more bars or shorter episodes"
        )
    for name, (first, last) in (("validation", splits.validation), ("test", splits.test)):
        if last - first < _MIN_EVALUATION_BARS:
            raise UserError(
                f"Of {num_bars} bars {max(0, last - first)} are left for the {name} after a gap of {gap_bars} bars, "
                f"but {_MIN_EVALUATION_BARS} are needed; use more bars or a shorter gap"
            )
    return splits
