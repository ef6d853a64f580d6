"""The markets of the controls: what the oracle knows, and what shuffling takes away and leaves as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mtquant_jax.market.controls import shuffled, with_oracle
from mtquant_jax.types import Bars
from tests.conftest import make_table, random_prices

HOURS = 24 * 7 * 40


@pytest.fixture(scope="module")
def bars() -> Bars:
    generator = np.random.default_rng(3)
    timestamps = np.arange(HOURS, dtype=np.int64) * 3600 + 1_700_000_000 // 3600 * 3600
    # Trending, wider by day than by night, and one instrument that trades on five days of the week only.
    hour = (timestamps // 3600) % 168
    size = 1e-3 * np.where(hour % 24 < 12, 3.0, 1.0)[:, None] * np.array([1.0, 2.0])
    tradable = np.stack([np.ones(HOURS, bool), hour < 120], axis=-1)
    moves = np.where(tradable, size * (generator.normal(size=(HOURS, 2)) + 0.3), 0.0)
    close = np.exp(np.cumsum(moves, axis=0))
    opened = np.concatenate([np.ones((1, 2)), close[:-1]])
    wick = np.abs(size * generator.normal(size=(HOURS, 2))) * tradable
    high, low = np.maximum(opened, close) * np.exp(wick), np.minimum(opened, close) * np.exp(-0.5 * wick)
    arrays = {"open": opened, "high": high, "low": low, "close": close, "spread": 1e-4 * opened, "volume": size}
    return Bars(
        symbols=("A", "B"), timestamps=timestamps, tradable=tradable[None], **{k: v[None] for k, v in arrays.items()}
    )


def test_the_oracle_is_the_next_bar_in_volatilities():
    opens, closes = random_prices(12, 3, seed=1)
    variance = np.array([1e-6, 4e-6, 0.0])
    table = make_table(opens, closes, features=np.ones((12, 3, 4)))
    table = table.replace(covariance=np.broadcast_to(np.diag(variance), (1, 12, 3, 3)))
    known = with_oracle(table)
    move = np.asarray(table.close / table.open - 1.0)[0]
    expected = np.clip(move[1:, :2] / np.sqrt(variance[:2]), -5.0, 5.0)
    np.testing.assert_allclose(known.features[0, :-1, :2, 0], expected, rtol=1e-3, atol=1e-3)
    assert np.all(np.asarray(known.features[0, -1, :, 0]) == 0.0) and np.all(np.isfinite(known.features))
    np.testing.assert_array_equal(known.features[..., 1:], table.features[..., 1:])
    assert known.features.shape == table.features.shape


def test_shuffled_bars_are_the_same_bars_in_their_own_hours(bars: Bars):
    other = shuffled(bars, 0)

    def moves(b: Bars) -> np.ndarray:
        before = np.concatenate([b.open[0, :1], b.close[0, :-1]])
        return np.abs(np.log(b.close[0] / before))

    hour = (bars.timestamps // 3600) % 168
    for h in (0, 50, 130):
        np.testing.assert_allclose(
            np.sort(moves(other)[hour == h], axis=0), np.sort(moves(bars)[hour == h], axis=0), atol=1e-12
        )
    np.testing.assert_array_equal(other.tradable, bars.tradable)
    np.testing.assert_array_equal(other.timestamps, bars.timestamps)
    assert np.all(other.high >= np.maximum(other.open, other.close) * (1 - 1e-12))
    assert np.all(other.low <= np.minimum(other.open, other.close) * (1 + 1e-12))
    span = np.log(bars.high / bars.low)[0], np.log(other.high / other.low)[0]
    np.testing.assert_allclose(np.sort(span[0], axis=0), np.sort(span[1], axis=0), atol=1e-12)
    np.testing.assert_allclose((other.spread / other.open)[0, 1:], 1e-4, rtol=0.05)
    correlation = [np.corrcoef(moves(b)[hour < 120], rowvar=False)[0, 1] for b in (bars, other)]
    assert correlation[0] == pytest.approx(correlation[1], abs=1e-6)  # instruments moved together


def test_shuffled_bars_have_no_drift_and_their_order_is_not_kept(bars: Bars):
    logs = [np.diff(np.log(shuffled(bars, seed).close[0, :, 0])) for seed in (0, 1)]
    assert not np.allclose(*logs)
    np.testing.assert_array_equal(logs[0], np.diff(np.log(shuffled(bars, 0).close[0, :, 0])))  # of its seed
    original = np.diff(np.log(bars.close[0, :, 0]))
    errors = [np.mean(x) / (np.std(x) / np.sqrt(len(x))) for x in (original, *logs)]
    assert errors[0] > 10.0 and all(abs(error) < 3.5 for error in errors[1:])
    kept = np.mean(np.isclose(np.abs(logs[0]), np.abs(original), rtol=1e-9))
    assert kept < 0.1


def test_paths_are_tossed_for_apart(bars: Bars):
    two = dataclasses.replace(
        bars,
        **{
            n: np.repeat(getattr(bars, n), 2, axis=0)
            for n in ("open", "high", "low", "close", "spread", "volume", "tradable")
        },
    )
    closes = shuffled(two, 0).close
    assert not np.allclose(closes[0], closes[1])
