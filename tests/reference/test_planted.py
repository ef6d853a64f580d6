"""The planted markets: the bars have the planted statistics, and the best known policies earn their known utility."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mtquant_jax.reference.planted import (
    DRIFT_COST,
    DRIFT_FEATURES,
    DRIFT_VOLATILITY,
    drift_market,
    planted_market,
    planted_problem,
    solve_lyapunov,
)

# The optimum per step and the shares of one-step myopic trading and of the best fixed rate: the table of learning.md.
TABLE = {
    "A": (0.359623, 0.885, 0.975),
    "B": (0.605153, 0.927, 0.939),
    "C": (0.124699, 0.612, 0.726),
    "D": (0.016218, 0.760, 0.868),
}
PATHS, BARS = 32, 4000


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def simple_returns(bars) -> np.ndarray:
    close = np.asarray(bars.close, np.float64)
    return close[:, 1:] / close[:, :-1] - 1.0


@pytest.mark.parametrize("case", TABLE)
def test_the_optimum_matches_the_table(case):
    problem = planted_problem(case)
    optimum, myopic, fixed = TABLE[case]
    assert problem.optimum / problem.scale == pytest.approx(optimum, abs=6e-7)
    # Myopic: the optimal last step, taken at every step, x = (gamma x Markowitz + lambda x before) / (gamma + lambda).
    keep = problem.cost / (problem.risk_aversion + problem.cost)
    share = problem.utility(keep, (1.0 - keep) * problem.markowitz_loadings) / problem.optimum
    assert share == pytest.approx(myopic, abs=6e-4)
    rates = np.linspace(0.005, 0.995, 199)
    best = max(problem.utility(1.0 - rate, rate * problem.markowitz_loadings) for rate in rates)
    assert best / problem.optimum == pytest.approx(fixed, abs=6e-4)


@pytest.mark.parametrize("case", TABLE)
def test_no_linear_policy_nearby_is_better(case):
    problem = planted_problem(case)
    rng = np.random.default_rng(0)
    react = problem.trade_rate * problem.aim_loadings
    for _ in range(50):
        keep = float(np.clip(1.0 - problem.trade_rate + 0.02 * rng.standard_normal(), 0.0, 0.99))
        assert problem.utility(keep, react * (1.0 + 0.05 * rng.standard_normal(react.shape))) < problem.optimum


def test_case_a_by_hand():
    # gamma 1, lambda 5: a = (sqrt(1 + 20) - 1) / 2 = 1.791288, rate 0.358258, aim = f / (1 + 0.1 x 1.791288)
    # = 0.848084 f; all in units of the scale 0.001, in which holdings are the same.
    problem = planted_problem("A")
    assert problem.urgency * problem.scale == pytest.approx(1.791288, abs=1e-6)
    assert problem.trade_rate == pytest.approx(0.358258, abs=1e-6)
    assert problem.aim_loadings[0, 0] == pytest.approx(0.848084, abs=1e-6)


def test_the_lyapunov_equation_is_solved():
    rng = np.random.default_rng(1)
    transition, root = 0.3 * rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    solution = solve_lyapunov(transition, root @ root.T)
    np.testing.assert_allclose(solution, transition @ solution @ transition.T + root @ root.T, atol=1e-10)
    assert solve_lyapunov(np.array([[0.5]]), np.array([[3.0]]))[0, 0] == pytest.approx(4.0)  # 3 / (1 - 0.25)


@pytest.mark.parametrize("case", TABLE)
def test_the_planted_parameters_are_recovered_from_the_bars(case):
    bars, factors, problem = planted_market(jax.random.key(2), PATHS, BARS, case)
    factors = np.asarray(factors, np.float64)
    size, count = problem.loadings.shape
    assert bars.close.shape == (PATHS, BARS, size) and factors.shape == (PATHS, BARS, count)
    before, after = factors[:, :-1].reshape(-1, count), simple_returns(bars).reshape(-1, size)
    found, *_ = np.linalg.lstsq(before, after, rcond=None)
    noise = after - before @ problem.loadings.T
    inverse = np.diag(np.linalg.inv(before.T @ before))
    error = np.sqrt(inverse[:, None] * np.diag(problem.covariance))
    assert np.all(np.abs(found - problem.loadings.T) < 4.5 * error)
    np.testing.assert_allclose(noise.T @ noise / len(noise), problem.covariance, atol=0.02 * problem.covariance.max())
    later = factors[:, 1:].reshape(-1, count)
    persistence = (before * later).sum(axis=0) / np.square(before).sum(axis=0)
    np.testing.assert_allclose(persistence, 1.0 - problem.reversion, atol=0.01)
    np.testing.assert_allclose(np.square(factors).mean(axis=(0, 1)), 1.0, atol=0.15)
    assert np.abs(np.corrcoef(np.hstack([later, noise]).T)[:count, count:]).max() < 0.02  # u is independent of f[t+1]


def test_factors_are_independent_of_later_noise():
    # The noise of the return after a factor is independent of that factor and of all earlier ones.
    bars, factors, problem = planted_market(jax.random.key(3), PATHS, BARS, "C")
    noise = simple_returns(bars)[..., 0] - np.asarray(factors, np.float64)[:, :-1] @ problem.loadings[0]
    for lag in (0, 1, 5):
        earlier = np.asarray(factors, np.float64)[:, : BARS - 1 - lag]
        score = (earlier * noise[:, lag:, None]).mean(axis=1) / noise.std()
        assert np.all(np.abs(score.mean(axis=0)) < 4.0 * score.std(axis=0) / np.sqrt(PATHS)), lag


def test_bars_open_at_the_previous_close_and_cost_nothing():
    bars, _, problem = planted_market(jax.random.key(4), 4, 500, "D")
    o, h, low, c = (np.asarray(getattr(bars, name)) for name in ("open", "high", "low", "close"))
    assert np.array_equal(o[:, 1:], c[:, :-1]) and np.array_equal(o[:, 0], c[:, 0])
    assert np.array_equal(h, np.maximum(o, c)) and np.array_equal(low, np.minimum(o, c)) and np.all(low > 0)
    assert not np.any(bars.spread) and np.all(bars.tradable) and len(bars.timestamps) == 500
    assert bars.symbols[0] == "PLANTED1" and len(bars.symbols) == 8
    volatility = np.sqrt(np.diag(problem.covariance))
    assert volatility.min() > 0.0004 and volatility.max() < 0.003


def test_the_best_policy_earns_its_utility_in_the_bars():
    # Replayed on the prices: x[t] from f[t], r[t+1] from closes; agrees with the Lyapunov value within its error.
    bars, factors, problem = planted_market(jax.random.key(5), 256, 2000, "A")
    factors, returns = np.asarray(factors, np.float64)[..., 0], simple_returns(bars)[..., 0]
    sigma, holding = problem.covariance[0, 0], np.zeros(len(factors))
    utilities = []
    for t in range(returns.shape[1]):
        before = holding
        holding = before + problem.trade_rate * (problem.aim_loadings[0, 0] * factors[:, t] - before)
        utility = holding * returns[:, t] - 0.5 * problem.risk_aversion * sigma * holding**2
        utilities.append(utility - 0.5 * problem.cost * sigma * (holding - before) ** 2)
    per_path = np.mean(utilities[50:], axis=0)
    error = per_path.std() / np.sqrt(len(per_path))
    assert abs(per_path.mean() - problem.optimum) < 4.0 * error and error < 0.02 * problem.optimum


def test_the_same_key_gives_the_same_market():
    first, second = (planted_market(jax.random.key(6), 2, 100, "B") for _ in range(2))
    assert np.asarray(first[0].close).tobytes() == np.asarray(second[0].close).tobytes()
    assert np.asarray(first[1]).tobytes() == np.asarray(second[1]).tobytes()


# Market E: a hidden drift.

DRIFT_PATHS, DRIFT_BARS = 96, 6000


@pytest.fixture(scope="module")
def drifting():
    """Returns ``[T, P, N]`` in units of a bar's volatility and features ``[T, P, N, 5]`` of a large market E."""
    bars, features = drift_market(jax.random.key(7), DRIFT_PATHS, DRIFT_BARS)
    close = np.asarray(bars.close, np.float64)
    before = np.concatenate([np.full_like(close[:, :1], 100.0), close[:, :-1]], axis=1)
    return np.swapaxes(close / before - 1.0, 0, 1) / DRIFT_VOLATILITY, np.swapaxes(np.asarray(features), 0, 1)


@pytest.mark.parametrize("lags", [(1, 2, 3, 4, 5), (20, 21, 22, 23, 24), (60, 61, 62, 63, 64)], ids=str)
def test_the_hidden_drift_is_found_in_the_returns(drifting, lags):
    # The noise is independent, so the autocovariance of returns is that of the drift, 0.15^2 x 0.97^lag.
    returns, _ = drifting
    found = np.mean([(returns[lag:] * returns[:-lag]).mean(axis=0) for lag in lags], axis=0).ravel()  # [P x N]
    error = found.std() / np.sqrt(found.size)
    assert abs(found.mean() - np.mean([0.15**2 * 0.97**lag for lag in lags])) < 4.0 * error
    assert error < 5e-4
    assert np.square(returns).mean() == pytest.approx(1.0 + 0.15**2, rel=5e-3)
    assert abs(returns.mean()) < 4.0 * returns.mean(axis=0).std() / np.sqrt(found.size)


def test_the_drift_is_stationary_from_the_first_bar_on():
    bars, _ = drift_market(jax.random.key(8), 20_000, 7)
    returns = simple_returns(bars) / DRIFT_VOLATILITY
    products = (returns[:, :1] * returns[:, 1:]).mean(axis=(1, 2))
    error = products.std() / np.sqrt(products.size)
    assert abs(products.mean() - np.mean([0.15**2 * 0.97**lag for lag in range(1, 6)])) < 4.0 * error
    assert error < 0.004


def expected_deviation(span: int) -> float:
    """Standard deviation of an exponentially weighted mean return.

    Its variance is w / (2 - w) times the sum over lags k of (1 - w)^|k| x covariance.
    """
    lags = np.arange(1, 4000)
    covariance = 0.15**2 * 0.97**lags
    weight = 1.0 / span
    total = 1.0 + 0.15**2 + 2.0 * np.sum((1.0 - weight) ** lags * covariance)
    return float(np.sqrt(weight / (2.0 - weight) * total))


def test_drift_features_are_standardised_trends_of_returns_up_to_the_bar(drifting):
    returns, features = drifting
    trend = np.zeros((*returns.shape[1:], len(DRIFT_FEATURES)))
    weight, deviation = 1.0 / np.array(DRIFT_FEATURES), np.array([expected_deviation(s) for s in DRIFT_FEATURES])
    for t in range(500):  # nothing after bar t is used
        trend = trend + weight * (returns[t, ..., None] - trend)
        np.testing.assert_allclose(features[t], trend / deviation, atol=2e-3)
    settled = np.square(features[1000:].astype(np.float64)).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(settled, 1.0, atol=0.03)


def test_the_tuned_rule_earns_the_utility_documented_in_learning_md(drifting):
    returns, features = drifting
    trend = features[..., DRIFT_FEATURES.index(20)]
    held, profits = np.zeros(returns.shape[1:]), []
    for t in range(DRIFT_BARS - 1):
        wanted = np.where(np.abs(trend[t]) > 0.5, np.sign(trend[t]), held)
        profits.append((wanted * returns[t + 1] - DRIFT_COST * np.abs(wanted - held)).sum(axis=-1))
        held = wanted
    assert 0.145 < np.mean(profits) < 0.16
    error = np.mean(profits, axis=0).std() / np.sqrt(DRIFT_PATHS)
    assert error < 0.004


def test_the_same_key_gives_the_same_drift():
    first, second = (drift_market(jax.random.key(6), 2, 100) for _ in range(2))
    assert np.asarray(first[0].close).tobytes() == np.asarray(second[0].close).tobytes()
    assert np.asarray(first[1]).tobytes() == np.asarray(second[1]).tobytes()
    assert first[0].symbols == ("DRIFT1", "DRIFT2", "DRIFT3")
    assert not np.any(first[0].spread)
