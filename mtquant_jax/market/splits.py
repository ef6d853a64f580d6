"""Turns a number of bars into train, validation and test ranges in time order, once or fold by fold, with gaps."""

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
    """Split bars into half-open ranges [first, last): train, a gap, validation, a gap, test.

    The fractions refer to all bars; a gap is taken from the start of the later range, so that features with a
    look-back up to `gap_bars` share no bar with the range before. Training starts after `warm_up` bars, once the
    averages in the features have settled.

    Raises UserError for fractions that leave no bars for the test, a gap shorter than the warm-up, a training range
    shorter than an episode (episode_length + 2 bars: the first observation and the fill of the last order) or a
    validation or test range under 50 bars.
    """
    if not (train_fraction > 0 and validation_fraction > 0 and train_fraction + validation_fraction < 1):
        raise UserError(
            f"`market.train_fraction` {train_fraction:g} and `market.validation_fraction` {validation_fraction:g} must "
            "be above 0 and leave a part of the bars for the test"
        )
    if gap_bars < warm_up:
        raise UserError(
            f"`market.gap_bars` {gap_bars}: must be at least {warm_up}, the look-back of the features, so that splits "
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


def walk_forward_folds(
    num_bars: int,
    num_folds: int,
    first_train_fraction: float,
    anchored: bool,
    gap_bars: int,
    episode_length: int,
    warm_up: int,
) -> list[Splits]:
    """Split bars into folds whose test ranges are contiguous up to the last bar and never overlap.

    All validation and test ranges have the same length, so that one compiled program serves all folds. Each fold is
    train, gap, validation, gap, test, in time order. Anchored training ranges begin at the first usable bar in every
    fold; rolling ones move on and keep the length of the first.

    Args:
        num_bars: T, the number of bars.
        num_folds: at least 2.
        first_train_fraction: share of all bars at which the training range of the first fold ends.
        anchored: True for anchored training ranges, False for rolling ones.
        gap_bars: bars between the parts; longer than the look-back, so that no feature and no reward is shared.
        episode_length: training ranges hold at least episode_length + 2 bars.
        warm_up: bars at the start that are not trained on.

    Raises:
        UserError: invalid settings, or too few bars.
    """
    if num_folds < 2:
        raise UserError(f"`folds` {num_folds}: must be at least 2; for one fold use train and evaluate")
    if not 0.1 <= first_train_fraction <= 0.9:
        raise UserError(f"`first_train_fraction` {first_train_fraction:g} must lie between 0.1 and 0.9")
    if gap_bars <= warm_up:
        raise UserError(
            f"`market.gap_bars` {gap_bars}: must be above {warm_up}, the look-back of the features plus the rewarded "
            "bar, so that folds share no bar"
        )
    train_end = round(num_bars * first_train_fraction)
    length = (num_bars - train_end - 2 * gap_bars) // (num_folds + 1)  # of each validation and test
    if length < _MIN_EVALUATION_BARS:
        raise UserError(
            f"{num_bars} bars leave {max(0, length)} for each validation and test of {num_folds} folds, but "
            f"{_MIN_EVALUATION_BARS} are needed; use more bars, fewer folds or a smaller `first_train_fraction`"
        )
    folds = []
    for fold in range(num_folds):
        test_first = num_bars - (num_folds - fold) * length
        validation_last = test_first - gap_bars
        train_last = validation_last - length - gap_bars
        shift = 0 if anchored else fold * length
        folds.append(
            Splits(
                train=(warm_up + shift, train_last),
                validation=(validation_last - length, validation_last),
                test=(test_first, test_first + length),
            )
        )
    shortest = min(last - first for first, last in (fold.train for fold in folds))
    if shortest < episode_length + 2:
        raise UserError(
            f"the training range of a fold has {max(0, shortest)} bars, but an episode of {episode_length} bars needs "
            f"{episode_length + 2}; use more bars or shorter episodes"
        )
    return folds
