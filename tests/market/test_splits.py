"""Train, validation and test ranges."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtquant_jax.errors import UserError
from mtquant_jax.market.splits import split, walk_forward_folds


def test_the_default_split_of_the_default_market():
    splits = split(6000, 0.70, 0.15, 250, 500, 240)
    assert splits.train == (240, 4200)
    assert splits.validation == (4450, 5100)
    assert splits.test == (5350, 6000)


@given(st.integers(300, 20_000), st.floats(0.1, 0.8), st.floats(0.05, 0.5), st.integers(0, 300), st.integers(1, 900))
def test_splits_are_ordered_with_gaps_or_refused(num_bars, train, validation, gap, episode):
    try:
        splits = split(num_bars, train, validation, gap, episode, warm_up=min(gap, 100))
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert splits.train[1] + gap == splits.validation[0]
    assert splits.validation[1] + gap == splits.test[0]
    assert splits.test[1] == num_bars
    assert splits.train[1] - splits.train[0] >= episode + 2
    assert min(splits.validation[1] - splits.validation[0], splits.test[1] - splits.test[0]) >= 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1000, 0.7, 0.15, 250, 500, 240), "Of 1000 bars 460 are left for training after 240 bars of warm-up, but an"),
        (
            (1000, 0.7, 0.15, 250, 300, 240),
            "Of 1000 bars 0 are left for the validation after a gap of 250 bars, but 50",
        ),
        ((2000, 0.7, 0.15, 251, 300, 240), "Of 2000 bars 49 are left for the validation"),
        ((2000, 0.65, 0.20, 251, 300, 240), "Of 2000 bars 49 are left for the test"),
        ((6000, 0.7, 0.15, 100, 500, 240), "`market.gap_bars` 100: must be at least 240"),
        ((6000, 0.7, 0.30, 250, 500, 240), "leave a part of the bars for the test"),
        ((6000, 0.0, 0.30, 250, 500, 240), "`market.train_fraction` 0"),
    ],
)
def test_ranges_that_are_too_short_are_refused_with_numbers(arguments, message):
    with pytest.raises(UserError) as error:
        split(*arguments)
    assert message in str(error.value)


FOLD = {"first_train_fraction": 0.5, "anchored": True, "gap_bars": 250, "episode_length": 500, "warm_up": 240}


def test_folds_are_contiguous_up_to_the_last_bar():
    folds = walk_forward_folds(12_000, 4, **FOLD)
    # (12,000 - 6,000 - 2 x 250) / 5 = 1,100 bars of each validation and test.
    assert [fold.test for fold in folds] == [(7600, 8700), (8700, 9800), (9800, 10_900), (10_900, 12_000)]
    assert folds[0].validation == (6250, 7350)
    assert [fold.train for fold in folds] == [(240, 6000), (240, 7100), (240, 8200), (240, 9300)]
    rolling = walk_forward_folds(12_000, 4, **{**FOLD, "anchored": False})
    assert [fold.train for fold in rolling] == [(240, 6000), (1340, 7100), (2440, 8200), (3540, 9300)]
    assert [fold.test for fold in rolling] == [fold.test for fold in folds]


@given(st.integers(2000, 60_000), st.integers(2, 10), st.floats(0.1, 0.9), st.booleans(), st.integers(241, 400))
def test_training_sees_nothing_of_the_test_range_or_the_fold_is_refused(num_bars, count, fraction, anchored, gap):
    try:
        folds = walk_forward_folds(num_bars, count, fraction, anchored, gap, 500, 240)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    lengths = {last - first for fold in folds for first, last in (fold.validation, fold.test)}
    assert len(lengths) == 1
    assert folds[-1].test[1] == num_bars
    for fold in folds:
        assert fold.train[1] + gap == fold.validation[0]
        assert fold.validation[1] + gap == fold.test[0]
        assert fold.train[1] - fold.train[0] >= 502
    for before, after in itertools.pairwise(folds):
        assert before.test[1] == after.test[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_folds": 1}, "`folds` 1: must be at least 2"),
        ({"gap_bars": 240}, "`market.gap_bars` 240: must be above 240"),
        ({"first_train_fraction": 0.95}, "`first_train_fraction` 0.95 must lie between 0.1 and 0.9"),
        ({"num_folds": 200}, "bars leave 27 for each validation and test of 200 folds, but 50"),
        ({"episode_length": 6000}, "an episode of 6000 bars needs 6002"),
    ],
)
def test_impossible_folds_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        walk_forward_folds(**{"num_bars": 12_000, "num_folds": 4, **FOLD, **changes})
