"""Stylised facts of series with known statistics, and of the shipped market against real bars."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.generator import clock, generate
from mtquant_jax.market.synthetic.stylised_facts import LAGS, autocorrelation, stylised_facts, typical
from mtquant_jax.types import Bars
from tests.market.random_bars import SYMBOLS

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "market"
INSTRUMENTS = load_instruments()


def bars_of(body: np.ndarray, gap: np.ndarray) -> Bars:
    """Bars from log returns of bodies and gaps [T, N]."""
    log_close = np.cumsum(body + gap, axis=0)
    open_, close = np.exp(log_close - body)[None], np.exp(log_close)[None]
    return Bars(
        symbols=tuple(f"S{index}" for index in range(body.shape[1])),
        timestamps=clock(len(body)),
        open=open_,
        high=np.maximum(open_, close),
        low=np.minimum(open_, close),
        close=close,
        spread=np.zeros_like(close),
        volume=np.ones_like(close),
        tradable=np.ones(close.shape, bool),
    )


def test_a_normal_random_walk_has_its_known_facts():
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((30_000, 2))
    normals[:, 1] = 0.6 * normals[:, 0] + 0.8 * normals[:, 1]
    times = clock(30_000)
    after_weekend = np.diff(times, prepend=times[0] - 3600) > 3600
    gap = np.where(after_weekend[:, None], 0.004 * rng.standard_normal((30_000, 2)), 0.0)
    facts = stylised_facts(bars_of(0.002 * normals, gap))
    np.testing.assert_allclose(facts.volatility, 0.002, rtol=0.02)
    np.testing.assert_allclose(facts.kurtosis, 3.0, atol=0.1)
    np.testing.assert_allclose(facts.mean_size, np.sqrt(2.0 / np.pi), atol=0.005)
    np.testing.assert_allclose(facts.tail_quantiles, np.tile([1.645, 2.576, 3.291], (2, 1)), rtol=0.04)
    np.testing.assert_allclose(facts.size_autocorrelation, 0.0, atol=0.025)
    np.testing.assert_allclose(facts.square_autocorrelation, 0.0, atol=0.025)
    np.testing.assert_allclose(facts.weekend_gap, 2.0, rtol=0.15)
    np.testing.assert_allclose(facts.open_gap, 0.0, atol=1e-6)
    assert np.all(np.isnan(facts.break_gap))
    assert facts.correlations[0, 1] == pytest.approx(0.6, abs=0.02)


def test_the_volatility_of_hours_is_measured_and_removed():
    rng = np.random.default_rng(1)
    hour = clock(20_000) // 3600 % 24
    wanted = np.where(hour == 13, 3.0, 1.0)
    facts = stylised_facts(bars_of((0.001 * wanted * rng.standard_normal(20_000))[:, None], np.zeros((20_000, 1))))
    assert facts.hour_profile[0, 13] / facts.hour_profile[0, 5] == pytest.approx(3.0, rel=0.05)
    assert facts.kurtosis[0] == pytest.approx(3.0, abs=0.15)


def test_autocorrelation_by_hand():
    assert autocorrelation(np.array([1.0, -1.0] * 40), 1) == pytest.approx(-1.0)
    assert np.isnan(autocorrelation(np.array([1.0, np.nan] * 40), 1))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_synthetic_bars_have_the_facts_of_real_ones():
    symbols = SYMBOLS
    real = stylised_facts(load_bars(SHARED / "h1", symbols, INSTRUMENTS)[0])
    bars = generate(jax.random.key(0), 8, 14_000, 0.0, None, symbols, INSTRUMENTS)
    paths = [stylised_facts(bars, path) for path in range(8)]
    mid = typical(paths)
    assert np.all((mid.kurtosis > 0.4 * real.kurtosis) & (mid.kurtosis < 2.0 * real.kurtosis))
    np.testing.assert_allclose(mid.mean_size, real.mean_size, atol=0.05)
    np.testing.assert_allclose(mid.tail_quantiles[:, :2], real.tail_quantiles[:, :2], rtol=0.15)
    np.testing.assert_allclose(mid.tail_quantiles[:, 2], real.tail_quantiles[:, 2], rtol=0.2)
    np.testing.assert_allclose(mid.volatility, real.volatility, rtol=0.2)
    short = [LAGS.index(lag) for lag in (1, 5, 24)]
    np.testing.assert_allclose(mid.size_autocorrelation[:, short], real.size_autocorrelation[:, short], atol=0.17)
    np.testing.assert_allclose(mid.correlations, real.correlations, atol=0.12)
    for gap in ("break_gap", "weekend_gap"):
        np.testing.assert_allclose(getattr(mid, gap), getattr(real, gap), rtol=0.35)
    hours = np.nanmax(np.abs(mid.hour_profile - real.hour_profile))
    assert hours < 0.45
