"""The figure of a validation's equity: what its pixels show, also of equity that does not move or is no number."""

import numpy as np
import pytest

from mtquant_jax.backtest.picture import Picture
from mtquant_jax.runs.equity_figure import equity_figure

CURVE = np.array([0x00, 0x72, 0xB2])


def rows_of_the_curve(equity, day=None):
    """Rows of the curve, from the top, near its beginning and near its end; none without a curve."""
    equity = np.asarray(equity, np.float32)
    day = 17_500 + np.arange(len(equity)) if day is None else day
    pixels = equity_figure(Picture(day, equity, {}, {}))
    assert (pixels.shape, pixels.dtype) == ((240, 480, 3), np.uint8)
    blue = np.abs(pixels.astype(int) - CURVE).sum(axis=2) < 150
    return [np.flatnonzero(blue[:, part].any(axis=1)) for part in (slice(50, 60), slice(450, 460))]


def test_a_gain_ends_higher_than_it_begins():
    begins, ends = rows_of_the_curve(np.linspace(1.0, 1.2, 50)[:, None])
    assert begins.min() > ends.max() + 100


def test_several_paths_are_their_mean_with_a_band():
    both = np.stack([np.linspace(1.0, 1.2, 50), np.linspace(1.0, 0.8, 50)], axis=1)
    begins, ends = rows_of_the_curve(both)
    assert abs(begins.mean() - ends.mean()) < 2.0
    band = equity_figure(Picture(17_500 + np.arange(50), both.astype(np.float32), {}, {}))[:, 440]
    alone = equity_figure(Picture(17_500 + np.arange(50), both[:, :1].astype(np.float32), {}, {}))[:, 440]
    assert (band < 250).any(axis=1).sum() > 100 > (alone < 250).any(axis=1).sum()


@pytest.mark.parametrize("days", [1, 2, 400])
def test_equity_that_does_not_move_is_a_line_in_the_middle(days):
    pixels = equity_figure(Picture(17_500 + np.arange(days), np.ones((days, 1), np.float32), {}, {}))
    assert (pixels[110:135, 60:450] < 200).any()


def test_equity_that_is_no_number_is_words():
    begins, ends = rows_of_the_curve([[1.0], [np.nan], [np.inf]])
    assert not len(begins) and not len(ends)
