"""The market table: byte-for-byte causality, hand-worked values, degenerate inputs, missing instruments."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.domain import CLASS_NAMES, MACRO_NAMES, SPECIFIC_NAMES, correlations
from mtquant_jax.market.features import FEATURE_NAMES, FEATURES, LOOK_BACK_BARS
from mtquant_jax.types import AssetClass, Bars, MarketTable
from tests.market.random_bars import COLUMNS, INSTRUMENTS, SYMBOLS, cut, random_bars, table_of


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def assert_same_rows(table: MarketTable, other: MarketTable, num_bars: int) -> None:
    for field in dataclasses.fields(MarketTable):
        left, right = (np.asarray(getattr(one, field.name)) for one in (table, other))
        rows = slice(num_bars) if field.name in ("day", "swap_nights") else (slice(None), slice(num_bars))
        assert left[rows].tobytes() == right[rows].tobytes(), field.name


@pytest.mark.parametrize("num_bars", [2, 25, 417])
def test_features_of_a_prefix_are_the_prefix_of_the_features(num_bars):
    bars = random_bars(1, 700, num_paths=2)
    assert_same_rows(table_of(bars), table_of(cut(bars, 0, num_bars)), num_bars)


@pytest.mark.parametrize("last", [0, 10, 150, 400, 698])
def test_nothing_after_a_bar_changes_anything_at_or_before_it(last):
    bars, noise = random_bars(2, 700), random_bars(3, 700, closed=0.5)
    mixed = {}
    for name in COLUMNS:
        mixed[name] = np.array(getattr(bars, name))
        mixed[name][:, last + 1 :] = (
            3.7 * getattr(noise, name)[:, last + 1 :] if name != "tradable" else noise.tradable[:, last + 1 :]
        )
    table, changed = table_of(bars), table_of(dataclasses.replace(bars, **mixed))
    assert_same_rows(table, changed, last + 1)
    # The change is visible: the next bar differs in every block that depends on prices.
    for name in ("features", "domain", "macro", "covariance"):
        after = (np.asarray(getattr(one, name))[:, last + 1 :] for one in (table, changed))
        assert not np.array_equal(*after), name


@pytest.mark.slow
def test_real_bars_give_causal_finite_features_of_order_one(real_data):
    bars, _ = load_bars(real_data, SYMBOLS, INSTRUMENTS)
    table = table_of(bars)
    assert_same_rows(table, table_of(cut(bars, 0, 4099)), 4099)
    features = np.asarray(table.features)[0, LOOK_BACK_BARS:]
    for index, name in enumerate(FEATURE_NAMES):
        values = features[..., index][np.asarray(bars.tradable)[0, LOOK_BACK_BARS:]]
        assert np.mean(np.abs(values) >= 5) < 0.01, name
        if name.startswith(("return", "trend")):
            assert 0.8 < np.std(values) < 1.3, name
        elif name != "tradable":
            assert 0.05 < np.std(values) < 1.5, name
    covariance = np.asarray(table.covariance, np.float64)[0]
    assert np.linalg.eigvalsh(covariance[::50]).min() > 0
    nasdaq = SYMBOLS.index("NAS100"), SYMBOLS.index("SPX500")
    pairs = list(zip(*np.triu_indices(8, 1), strict=True))
    median = np.median(np.asarray(correlations(table.covariance))[0, 500:, pairs.index(tuple(sorted(nasdaq)))])
    assert median > 0.85


def test_shapes_names_and_calendar():
    table = table_of(random_bars(4, 60, num_paths=3))
    assert len(FEATURE_NAMES) == len(set(FEATURE_NAMES))
    assert table.features.shape == (3, 60, 8, len(FEATURE_NAMES))
    assert table.domain.shape == (3, 60, 3, FEATURES.domain_size)
    assert table.macro.shape == (3, 60, len(MACRO_NAMES))
    assert table.covariance.shape == (3, 60, 8, 8)
    assert correlations(table.covariance).shape == (3, 60, 28)
    assert all(np.asarray(x).dtype == np.float32 for x in (table.features, table.domain, table.macro, table.covariance))
    assert np.asarray(table.day).dtype == np.int32
    # 1 700 000 000 s: Tuesday 2023-11-14 22:13 UTC, 17:13 in New York: the broker's day 19 676 has begun.
    assert np.asarray(table.day)[[0, 1, 2]].tolist() == [19676, 19676, 19676]
    hour_sin, weekday_cos = (FEATURE_NAMES.index(name) for name in ("hour_sin", "weekday_cos"))
    assert float(table.features[0, 0, 0, hour_sin]) == pytest.approx(np.sin(2 * np.pi * 22 / 24), abs=1e-6)
    assert float(table.features[0, 0, 0, weekday_cos]) == pytest.approx(np.cos(2 * np.pi / 7), abs=1e-6)
    tokyo = len(CLASS_NAMES) + SPECIFIC_NAMES["forex"].index("tokyo")
    assert np.asarray(table.domain)[0, :12, 0, tokyo].tolist() == [0, 0] + [1] * 9 + [0]


def trend_bars(step: float, num_bars: int = 600, symbols=SYMBOLS) -> Bars:
    """Every instrument moves by `step` in logs each bar, plus a small alternation that gives it a volatility."""
    wiggle = 1e-3 * np.where(np.arange(num_bars) % 2, 1.0, -1.0)
    close = np.exp(step * np.arange(num_bars) + wiggle)[None, :, None] * np.full((1, 1, len(symbols)), 50.0)
    flat = np.ones_like(close)
    return Bars(
        tuple(symbols), 3600 * np.arange(num_bars), close, close, close, close, flat, flat, np.ones(close.shape, bool)
    )


def test_trends_have_the_sign_of_the_drift_and_the_dollar_index_that_of_the_dollar():
    up, down = (np.asarray(table_of(trend_bars(step)).features)[0, -1, 0] for step in (1e-3, -1e-3))
    for name in ("return_24", "return_120", "trend_20", "trend_50", "trend_120", "rsi"):
        index = FEATURE_NAMES.index(name)
        assert up[index] > 0.5 > -0.5 > down[index], name
    macro = np.asarray(table_of(trend_bars(1e-3)).macro)[0, -1]
    # EURUSD and GBPUSD up mean the dollar down, USDJPY up means the dollar up: minus a third of the trend.
    assert macro[MACRO_NAMES.index("dollar_index")] < 0
    assert macro[MACRO_NAMES.index("breadth")] == 1.0
    assert macro[MACRO_NAMES.index("dispersion")] == pytest.approx(0.0, abs=1e-3)


def test_returns_and_bollinger_match_float64():
    bars = random_bars(6, 400, closed=0.0)
    features = np.asarray(table_of(bars).features)[0]
    log_close = np.log(bars.close[0])
    returns = [features[:, :, FEATURE_NAMES.index(f"return_{h}")] for h in (3, 8)]
    # The scale is common, so the ratio of two horizons is free of it.
    expected = (log_close[300] - log_close[297]) / (log_close[300] - log_close[292]) * np.sqrt(8 / 3)
    np.testing.assert_allclose(returns[0][300] / returns[1][300], expected, rtol=2e-3)
    window = log_close[281:301]
    position = (window[-1] - window.mean(0)) / (2 * window.std(0))
    bollinger = features[300, :, FEATURE_NAMES.index("bollinger")]
    assert np.all(np.sign(bollinger) == np.sign(position))
    assert np.all(np.abs(bollinger) <= np.abs(position)) and np.all(np.abs(bollinger) > 0.9 * np.abs(position))
    top, bottom = bars.high[0, 277:301].max(0), bars.low[0, 277:301].min(0)
    middle = features[300, :, FEATURE_NAMES.index("range_position")]
    np.testing.assert_allclose(middle, 2 * (bars.close[0, 300] - bottom) / (top - bottom) - 1, atol=1e-3)


def test_covariance_matches_the_returns():
    rng = np.random.default_rng(5)
    mixing = np.linalg.cholesky(np.full((8, 8), 0.5) + 0.5 * np.eye(8))
    returns = 1e-3 * rng.normal(size=(4000, 8)) @ mixing.T * np.arange(1, 9)
    close = 100 * np.exp(np.cumsum(returns, axis=0))[None]
    ones = np.ones_like(close)
    bars = Bars(SYMBOLS, 3600 * np.arange(4000), close, close, close, close, ones, ones, np.ones(close.shape, bool))
    covariance = np.asarray(table_of(bars).covariance)[0, 500:].mean(0)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), 1e-3 * np.arange(1, 9), rtol=0.06)
    values = np.asarray(correlations(covariance))
    assert abs(values.mean() - 0.5) < 0.05


def test_the_first_bar_has_no_return_and_opens_no_gap():
    bars = random_bars(10, 417, num_paths=2, closed=0.0)
    features = np.asarray(table_of(bars).features)
    for name in ("return_1", "return_120", "trend_3", "trend_120", "rsi", "macd_histogram", "gap", "volume_score"):
        column = features[..., FEATURE_NAMES.index(name)]
        assert np.all(column[:, 0] == 0) and np.any(column[:, 1] != 0), name
    # Averages begin with the second bar: its trend is its own return, in volatilities by the first bar's range.
    high, low, close = (getattr(bars, name) for name in ("high", "low", "close"))
    volatility = np.sqrt(np.maximum(np.log(high[:, 0] / low[:, 0]) ** 2 / (4.0 * np.log(2.0)), 1e-7))
    score = np.clip(np.log(close[:, 1] / close[:, 0]) / volatility, -5, 5)
    np.testing.assert_allclose(features[:, 1, :, FEATURE_NAMES.index("trend_3")], score, rtol=1e-2)


def test_a_long_stretch_without_bars_freezes_the_statistics():
    bars = random_bars(7, 700, closed=0.0)
    table = table_of(bars)
    features, covariance = np.asarray(table.features)[0, :, -1], np.asarray(table.covariance)[0]
    for name in ("trend_50", "volatility_ratio", "volatility_level", "rsi", "macd_histogram", "atr_level"):
        column = features[149:290, FEATURE_NAMES.index(name)]
        assert np.all(column == column[0]), name
    np.testing.assert_allclose(covariance[150:290, -1, -1], covariance[149, -1, -1], rtol=1e-3)
    assert np.all(features[150:290, FEATURE_NAMES.index("tradable")] == 0)
    assert np.all(features[150:290, FEATURE_NAMES.index("gap")] == 0)
    assert np.linalg.eigvalsh(covariance.astype(np.float64)).min() > 0


@pytest.mark.parametrize("nasty", ["constant", "never_tradable", "jump", "no_volume", "tiny", "single_bar", "extreme"])
def test_features_are_finite_on_degenerate_inputs(nasty):
    bars = random_bars(8, 400)
    change: dict[str, np.ndarray] = {}
    if nasty == "constant":
        change = {name: np.full_like(bars.close, 1.5) for name in ("open", "high", "low", "close")}
    elif nasty == "never_tradable":
        change = {name: np.full_like(bars.close, 2.5) for name in ("open", "high", "low", "close")}
        change |= {"tradable": np.zeros(bars.close.shape, bool), "volume": np.zeros_like(bars.close)}
    elif nasty == "jump":
        factor = np.where(np.arange(400) < 200, 1.0, 20.0)[None, :, None]
        change = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")}
    elif nasty == "no_volume":
        change = {"volume": np.zeros_like(bars.close)}
    elif nasty == "tiny":
        change = {name: getattr(bars, name) * 1e-6 for name in ("open", "high", "low", "close")}
    elif nasty == "extreme":
        change = {name: getattr(bars, name) * 1e9 for name in ("open", "high", "low", "close", "volume")}
    bars = cut(dataclasses.replace(bars, **change), 0, 1 if nasty == "single_bar" else 400)
    table = table_of(bars)
    for field in dataclasses.fields(MarketTable):
        assert np.isfinite(np.asarray(getattr(table, field.name))).all(), field.name
    assert np.abs(np.asarray(table.features)).max() <= 5
    assert np.abs(np.asarray(table.domain)).max() <= 5
    assert np.diagonal(np.asarray(table.covariance), axis1=-2, axis2=-1).min() > 0


def test_other_instruments_and_classes_work():
    bars = random_bars(9, 300, ("USDJPY", "SPX500"))
    table = table_of(bars, (AssetClass("all", ("SPX500", "USDJPY")),))
    assert table.domain.shape == (1, 300, 1, FEATURES.domain_size)
    assert np.all(np.asarray(table.domain)[..., len(CLASS_NAMES) :] == 0)
    macro = dict(zip(MACRO_NAMES, np.moveaxis(np.asarray(table.macro)[0], -1, 0), strict=True))
    assert np.all(macro["gold_oil"] == 0) and np.all(macro["equity_volatility"] == 0)
    assert np.any(macro["dollar_index"] != 0)
    one = table_of(random_bars(9, 300, ("XAUUSD",)), (AssetClass("gold", ("XAUUSD",), "commodities"),))
    assert np.isfinite(np.asarray(one.domain)).all()
    np.testing.assert_allclose(table.conversion_close[0, :, 0], 1 / bars.close[0, :, 0], rtol=1e-5)
    np.testing.assert_allclose(table.conversion_open[0, :, 0], 1 / bars.open[0, :, 0], rtol=1e-5)
    assert np.all(np.asarray(table.conversion_close)[0, :, 1] == 1)


def test_classes_that_do_not_fit_the_bars_are_refused():
    bars = random_bars(9, 10, ("EURUSD",))
    with pytest.raises(UserError, match="The class metals has XAUUSD, for which there are no bars"):
        table_of(bars, (AssetClass("metals", ("XAUUSD",)),))
    with pytest.raises(UserError, match="unknown domain 'forx'; did you mean 'forex'"):
        table_of(bars, (AssetClass("fx", ("EURUSD",), "forx"),))
    with pytest.raises(UserError, match="account currency CHF"):
        table_of(bars, (AssetClass("fx", ("EURUSD",)),), "CHF")
