"""The documented effect of each of the nine scenarios, measured against the neutral market with the same noise."""

from __future__ import annotations

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import load_instruments, select
from mtquant_jax.market.synthetic import generator as synthetic
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.synthetic.generator import clock, edge_states, generate
from mtquant_jax.market.synthetic.parameters import parameters
from mtquant_jax.market.synthetic.scenarios import SCENARIOS, Scenario, find_scenario, scheduled_events
from mtquant_jax.settings.config import ScenarioName
from mtquant_jax.types import AssetClass, Bars
from tests.market.random_bars import SYMBOLS

INSTRUMENTS = load_instruments()
CALIBRATION = load_calibration()
CLASSES = (
    AssetClass("forex", SYMBOLS[:3]),
    AssetClass("commodities", SYMBOLS[3:5]),
    AssetClass("equity", SYMBOLS[5:]),
)

CLASS_OF = np.array([0, 0, 0, 1, 1, 2, 2, 2])
PATHS, BARS = 24, 3000
DIRECTION = np.asarray(parameters(CALIBRATION, select(SYMBOLS, INSTRUMENTS), CLASS_OF.tolist(), clock(50)).direction)


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def market(scenario: Scenario | str, seed: int = 0, num_paths: int = PATHS, edge: float = 0.0) -> Bars:
    if isinstance(scenario, str):
        scenario = find_scenario(scenario)
    key = jax.random.key(seed)
    return generate(key, num_paths, BARS, edge, CALIBRATION, SYMBOLS, INSTRUMENTS, scenario, CLASSES)


def bodies(bars: Bars) -> np.ndarray:
    """Log returns from open to close [P, T, N]."""
    return np.log(np.asarray(bars.close, np.float64) / np.asarray(bars.open, np.float64))


def deviations(bars: Bars) -> np.ndarray:
    """Root mean square of bodies [N]."""
    return np.sqrt(np.mean(bodies(bars) ** 2, axis=(0, 1)))


def hour_deviations(bars: Bars) -> np.ndarray:
    """Median over bars of the standard deviation of bodies [N], robust to single jumps."""
    return np.median(np.abs(bodies(bars)), axis=(0, 1))


def mean_correlation(returns: np.ndarray) -> float:
    """Mean absolute correlation of [..., N], over pairs, of ranks' normal scores cut at three deviations."""
    rows = returns.reshape(-1, returns.shape[-1])
    rows = np.clip(rows / rows.std(axis=0), -3, 3)
    matrix = np.corrcoef(rows[np.all(rows != 0.0, axis=1)].T)
    return float(np.mean(np.abs(matrix[np.triu_indices(len(matrix), 1)])))


def variance_ratio(bars: Bars, lag: int = 120) -> float:
    """Variance of lag-bar returns over lag times that of one bar, mean over instruments; 1 for a random walk."""
    log_close = np.log(np.asarray(bars.close, np.float64))
    one, many = np.diff(log_close, axis=1), log_close[:, lag:] - log_close[:, :-lag]
    return float(np.mean(many.var(axis=(0, 1)) / (lag * one.var(axis=(0, 1)))))


def kurtosis(returns: np.ndarray) -> float:
    """Median kurtosis over paths and instruments."""
    centred = returns - returns.mean(axis=1, keepdims=True)
    return float(np.median(np.mean(centred**4, axis=1) / np.mean(centred**2, axis=1) ** 2))


@pytest.fixture(scope="module")
def neutral() -> Bars:
    return market("neutral")


def test_the_settings_accept_the_nine_scenarios_and_neutral():
    assert tuple(SCENARIOS) == get_args(ScenarioName) and len(SCENARIOS) == 10
    with pytest.raises(UserError, match='no scenario "crysis"; did you mean crisis'):
        find_scenario("crysis")


def test_neutral_is_the_market_without_a_scenario(neutral):
    plain = generate(jax.random.key(0), PATHS, BARS, 0.0, CALIBRATION, SYMBOLS, INSTRUMENTS)
    for name in ("open", "high", "low", "close", "spread", "volume"):
        assert np.asarray(getattr(plain, name)).tobytes() == np.asarray(getattr(neutral, name)).tobytes(), name


def test_low_volatility(neutral):
    calm = market("low_volatility")
    assert np.all(deviations(calm) < 0.55 * deviations(neutral))
    assert kurtosis(bodies(calm)) < 0.8 * kurtosis(bodies(neutral))


def test_high_volatility(neutral):
    assert np.all(deviations(market("high_volatility")) > 1.7 * deviations(neutral))
    assert np.median(market("high_volatility").spread / neutral.spread) == pytest.approx(1.5, rel=1e-3)


def test_trending(neutral):
    trending = market("trending")
    assert variance_ratio(trending) > 2.0 * variance_ratio(neutral)
    ratio = hour_deviations(trending) / hour_deviations(neutral)
    assert np.all((ratio > 0.95) & (ratio < 1.15))  # trends, not noise


def test_ranging(neutral):
    ranging = market("ranging")
    assert variance_ratio(ranging) < 0.6 * variance_ratio(neutral)
    reach = [np.ptp(np.log(np.asarray(bars.close)), axis=1).mean(axis=0) for bars in (ranging, neutral)]
    assert np.all(reach[0] < 0.75 * reach[1])


@pytest.mark.slow
def test_crisis(neutral):
    crisis = market("crisis")
    assert np.all(deviations(crisis) > 2.0 * deviations(neutral))
    assert mean_correlation(bodies(crisis)) > mean_correlation(bodies(neutral)) + 0.15
    many = market("crisis", num_paths=128)
    growth = np.log(np.asarray(many.close)[:, -1] / np.asarray(many.open)[:, 0]) * DIRECTION
    typical = deviations(neutral) * np.sqrt(BARS)
    assert np.all(growth.mean(axis=0) < -1.0 * typical)
    large = 16.0  # median sizes: about eleven deviations of a quiet bar
    scores = bodies(crisis) / hour_deviations(crisis) * DIRECTION
    jumps, falls = np.abs(scores) > large, scores < -large
    before = np.mean(np.abs(bodies(neutral)) > large * hour_deviations(neutral))
    assert jumps.mean() > 1.3 * before
    assert falls.sum() > 1.5 * (jumps.sum() - falls.sum())  # they fall rather than rise


def test_correlation_breakdown(neutral):
    broken = bodies(market("correlation_breakdown"))
    half = BARS // 2
    before, after = mean_correlation(broken[:, :half]), mean_correlation(broken[:, half:])
    assert after < 0.4 * before
    assert before == pytest.approx(mean_correlation(bodies(neutral)[:, :half]), abs=1e-9)
    assert mean_correlation(bodies(neutral)[:, half:]) > 0.8 * before


def test_sector_rotation(neutral):
    # The drift of a class is +-0.1 volatilities a bar and changes its sign every 238 bars, classes a third apart.
    bars = market("sector_rotation", num_paths=64)
    gain = bodies(bars) / deviations(neutral)  # [P, T, N]
    by_class = np.stack([gain[..., c == CLASS_OF].mean(axis=(0, 2)) for c in range(3)])  # [C, T]
    place = np.floor(np.arange(BARS) / 238.0 + (2.0 * np.arange(3) / 3.0)[:, None])
    sign = 1.0 - 2.0 * (place % 2)
    for c in range(3):
        up, down = by_class[c, sign[c] > 0].mean(), by_class[c, sign[c] < 0].mean()
        assert up > 0.06 and down < -0.06, (c, up, down)
    assert np.all(np.abs(sign.sum(axis=0)) == 1)  # never all in one direction


def test_macro_events(neutral):
    events = market("macro_events")
    on = scheduled_events(events.timestamps)
    moments = events.timestamps[on].astype("datetime64[s]").tolist()
    assert {(m.weekday(), m.hour) for m in moments} == {(2, 18), (4, 13)}
    size, plain = (np.sqrt(np.mean(bodies(bars) ** 2, axis=(0, 2))) for bars in (events, neutral))
    excess = size / plain
    assert excess[on].mean() > 4.5  # 2.5 (1 + 2^2)^(1/2) = 5.6: a jump of two volatilities on a volatility of 2.5
    after = np.flatnonzero(on)[:-1] + 1
    assert excess[after].mean() > 1.8 > 1.2 > excess[after + 12].mean() > 0.99  # 1 + 1.5 exp(-bars / 4)
    quiet = np.flatnonzero(on)[1:] - 2
    np.testing.assert_allclose(excess[quiet], 1.0, atol=0.01)


def states(scenario: Scenario | str, seed: int = 0, num_paths: int = PATHS) -> np.ndarray:
    """The edge states of `market` [P, T, S] bool."""
    if isinstance(scenario, str):
        scenario = find_scenario(scenario)
    return edge_states(jax.random.key(seed), num_paths, BARS, SYMBOLS, scenario, CLASSES)


def test_edge_regimes_are_the_market_with_the_edge_and_without_it_as_the_states_say():
    on = states("edge_regimes")[..., CLASS_OF]
    switched, always, never = (
        bodies(market(name, edge=edge)) for name, edge in (("edge_regimes", 0.3), ("neutral", 0.3), ("neutral", 0.0))
    )
    scale = deviations(market("neutral"))
    np.testing.assert_allclose((switched / scale)[on], (always / scale)[on], atol=0.01)
    np.testing.assert_allclose((switched / scale)[~on], (never / scale)[~on], atol=0.01)
    apart = np.abs(always - never) / scale
    assert apart.mean() > 0.1  # otherwise the test compares nothing
    assert np.array_equal(market("edge_regimes").close, market("neutral").close)  # no edge, nothing to switch


def test_returns_are_forecastable_where_the_edge_is_on_and_not_where_it_is_off():
    size, window = 64, 24
    on = states("edge_regimes", 6, size)
    assert on.shape == (size, BARS, 3) and 0.4 < on.mean() < 0.6
    bars = market("edge_regimes", 6, size, edge=0.3)
    scores = np.clip(bodies(bars) / hour_deviations(bars), -6, 6)
    sums = np.cumsum(np.pad(scores, ((0, 0), (1, 0), (0, 0))), axis=1)
    past, following = (sums[:, window:] - sums[:, :-window])[:, :-1], scores[:, window:]
    counts = np.cumsum(np.pad(on[..., CLASS_OF], ((0, 0), (1, 0), (0, 0))), axis=1)
    share = (counts[:, window + 1 :] - counts[:, : -window - 1]) / (window + 1)
    correlations = [np.corrcoef(past[share == whole], following[share == whole])[0, 1] for whole in (1.0, 0.0)]
    assert correlations[0] > 0.12 and abs(correlations[1]) < 0.01, correlations
    # With a trend beside the edge, off leaves the trend.
    trend = Scenario(trend=0.3, edge_switch_bars=476.0)
    plain = bodies(market(Scenario(trend=0.3)))
    np.testing.assert_allclose(bodies(market(trend)), plain, atol=1e-6)


def test_edges_switch_after_the_mean_time_independently_per_class():
    num_paths, num_bars = 6, 60_000
    mean_bars = np.array([0.0, 1.0, 10.0, 10.0, 100.0, 100.0])
    scenario = Scenario(edge_switch_bars=mean_bars)
    on = edge_states(jax.random.key(2), num_paths, num_bars, SYMBOLS, scenario, CLASSES)
    assert on[0].all()
    assert np.all(on[1, 1:] != on[1, :-1])
    for path, mean in enumerate(mean_bars[2:], start=2):
        for number in range(3):
            times = np.diff(np.flatnonzero(np.diff(on[path, :, number])))
            error = mean / np.sqrt(len(times))
            assert times.mean() == pytest.approx(mean, abs=4.0 * error), (path, number)
            assert times.std() == pytest.approx(mean, rel=0.2)  # geometric
        together = np.corrcoef(on[path].T)[np.triu_indices(3, 1)]
        assert np.all(np.abs(together) < 8.0 * np.sqrt(mean / num_bars)), together
    many = edge_states(jax.random.key(3), 4000, 2, SYMBOLS, find_scenario("edge_regimes"), CLASSES)
    assert many.mean() == pytest.approx(0.5, abs=0.02)  # stationary from the first bar on
    alone = edge_states(jax.random.key(3), 4, 50, SYMBOLS[:2])
    assert alone.shape == (4, 50, 2) and alone.all()


@pytest.mark.slow
def test_jumps_and_volatility_earn_nothing():
    # Every scenario without a drift is a martingale when the edge is 0, jumps with a mean included.
    skewed = Scenario(volatility=2.0, jump_rate=20.0, jump_mean=-2.0, correlation=0.6, event_jump=4.0)
    for scenario in (skewed, find_scenario("macro_events"), find_scenario("high_volatility")):
        bars = market(scenario, seed=3, num_paths=128)
        simple = np.expm1(bodies(bars)) / deviations(bars)
        per_path = simple.mean(axis=1)
        error = per_path.std(axis=0) / np.sqrt(len(per_path))
        assert np.all(np.abs(per_path.mean(axis=0)) < 4.0 * error), per_path.mean(axis=0) / error


def test_a_change_of_scenario_or_calibration_compiles_nothing():
    market("neutral")  # under the promotion of this test, which the fixture is drawn without
    before = synthetic.draw._cache_size()
    for scenario in SCENARIOS.values():
        market(scenario)
    wilder = {**CALIBRATION, "turbulent_exit": 0.01, "extreme_correlations": np.eye(8).tolist()}
    generate(jax.random.key(1), PATHS, BARS, 0.3, wilder, SYMBOLS, INSTRUMENTS, None, CLASSES)
    assert synthetic.draw._cache_size() == before


@pytest.mark.slow
def test_scenarios_are_vmapped_and_paths_may_differ():
    num_paths, num_bars = 2, 300
    p = parameters(CALIBRATION, select(SYMBOLS, INSTRUMENTS), CLASS_OF.tolist(), clock(num_bars))
    chosen = [SCENARIOS["neutral"], SCENARIOS["crisis"]]
    stacked = jax.tree.map(
        lambda *x: jnp.asarray(np.broadcast_to(np.stack(x)[:, None], (2, num_paths)), jnp.float32), *chosen
    )
    key, edge = jax.random.key(4), jnp.float32(0.1)
    both = jax.vmap(synthetic.draw, in_axes=(None, None, 0, None))(key, edge, stacked, p)["close"]
    mixed = jax.tree.map(lambda *x: np.array(x), *chosen)
    per_path = generate(key, num_paths, num_bars, 0.1, CALIBRATION, SYMBOLS, INSTRUMENTS, mixed, CLASSES)
    for index, scenario in enumerate(chosen):
        alone = generate(key, num_paths, num_bars, 0.1, CALIBRATION, SYMBOLS, INSTRUMENTS, scenario, CLASSES)
        np.testing.assert_allclose(both[index], alone.close, rtol=1e-4)
        np.testing.assert_array_equal(per_path.close[index], alone.close[index])


@pytest.mark.slow
def test_every_scenario_gives_consistent_bars():
    for name in SCENARIOS:
        bars = market(dataclasses.replace(find_scenario(name)), seed=9)
        o, h, low, c = (np.asarray(getattr(bars, column)) for column in ("open", "high", "low", "close"))
        assert np.isfinite(c).all() and np.all(low > 0), name
        assert np.all(h >= np.maximum(o, c)) and np.all(low <= np.minimum(o, c)), name
