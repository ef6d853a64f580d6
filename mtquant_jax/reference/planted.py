"""Turns a seed into a market whose predictability is known exactly, with the optimal policy if a formula gives it.

The model is that of Garleanu and Pedersen (Journal of Finance 2013): r[t+1] = B f[t] + u, factors
f[t+1] = (I - Phi) f[t] + e, and quadratic costs Lambda = lambda Sigma, in the limit of no discounting, where utility is
a mean per step.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.market.synthetic.parameters import clock
from mtquant_jax.types import Bars

Case = Literal["A", "B", "C", "D"]
_START_PRICE = 100.0

DRIFT_VOLATILITY = 0.001
"""Market E: volatility of the noise per bar; small, so that weights hardly drift and profits hardly compound."""
DRIFT_COST = 0.065
"""Market E: cost per unit traded, in volatilities of a bar."""
DRIFT_FEATURES = (3, 8, 20, 50, 120)
"""Market E: spans of the exponentially weighted mean returns that are its features (weight 1 / span), each in units of
its own standard deviation."""
_DRIFT_PERSISTENCE, _DRIFT_DEVIATION, _DRIFT_INSTRUMENTS = 0.97, 0.15, 3


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedProblem:
    """Predictable returns with quadratic costs; holdings x [N] are shares of equity, float64.

    The utility per step is E[x[t]' r[t+1] - risk_aversion / 2 x[t]' Sigma x[t] - cost / 2 dx[t]' Sigma dx[t]].
    """

    loadings: np.ndarray  # [N, K] B, return of the next bar per unit of factor
    reversion: np.ndarray  # [K] diagonal of Phi: share by which a factor decays per bar
    covariance: np.ndarray  # [N, N] Sigma, covariance of the noise u per bar
    factor_covariance: np.ndarray  # [K, K] Omega, covariance of the shocks e per bar; factors have unit variance
    risk_aversion: float  # gamma, per unit of return
    cost: float  # lambda, per unit of return
    scale: float  # factor of the returns; utility / scale is in the units of the table in docs/learning.md

    @property
    def urgency(self) -> float:
        """The coefficient a of the paper; a / cost is the trade rate."""
        gamma = self.risk_aversion
        return float(0.5 * (np.sqrt(gamma**2 + 4.0 * gamma * self.cost) - gamma))

    @property
    def trade_rate(self) -> float:
        """Share of the distance to the aim portfolio that the optimal policy trades per bar."""
        return self.urgency / self.cost

    @property
    def markowitz_loadings(self) -> np.ndarray:
        """Optimal holdings without costs per unit of factor [N, K]: (gamma Sigma)^-1 B."""
        solved: np.ndarray = np.linalg.solve(self.risk_aversion * self.covariance, self.loadings)
        return solved

    @property
    def aim_loadings(self) -> np.ndarray:
        """Aim portfolio per unit of factor [N, K]: factor k of the Markowitz portfolio over 1 + phi_k a / gamma."""
        return self.markowitz_loadings / (1.0 + self.reversion * self.urgency / self.risk_aversion)

    @property
    def optimum(self) -> float:
        """Utility per step of the optimal policy: x[t] = (1 - a / lambda) x[t-1] + (a / lambda) aim[t]."""
        return self.utility(1.0 - self.trade_rate, self.trade_rate * self.aim_loadings)

    @property
    def best_holdings_covariance(self) -> np.ndarray:
        """Stationary covariance [N, N] of the holdings of the optimal policy."""
        size = len(self.loadings)
        return self._stationary(1.0 - self.trade_rate, self.trade_rate * self.aim_loadings)[:size, :size]

    def _stationary(self, keep: float, react: np.ndarray) -> np.ndarray:
        """Covariance [N + K, N + K] of the state (x[t], f[t]) = M (x[t-1], f[t-1]) + G e[t] of a linear policy.

        S = M S M' + G Omega G' is a discrete Lyapunov equation, solved as a linear system.
        """
        size, factors = self.loadings.shape
        decay = np.diag(1.0 - self.reversion)
        transition = np.block([[keep * np.eye(size), react @ decay], [np.zeros((factors, size)), decay]])
        shock = np.vstack([react, np.eye(factors)])
        return solve_lyapunov(transition, shock @ self.factor_covariance @ shock.T)

    def utility(self, keep: float, react: np.ndarray) -> float:
        """Exact utility per step of the policy x[t] = keep x[t-1] + react f[t], react [N, K], 0 <= keep < 1."""
        size = len(self.loadings)
        decay = np.diag(1.0 - self.reversion)
        state = self._stationary(keep, react)
        # dx[t] = (keep - 1) x[t-1] + react f[t], with f[t] = decay f[t-1] + e[t].
        change = np.hstack([(keep - 1.0) * np.eye(size), react @ decay])
        of_change = change @ state @ change.T + react @ self.factor_covariance @ react.T
        gain = np.trace(self.loadings @ state[size:, :size])
        risk = 0.5 * self.risk_aversion * np.trace(self.covariance @ state[:size, :size])
        return float(gain - risk - 0.5 * self.cost * np.trace(self.covariance @ of_change))


def solve_lyapunov(transition: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Solve S = M S M' + Q for S [n, n]; all eigenvalues of the transition M [n, n] are inside the unit circle."""
    size = len(transition)
    system = np.eye(size * size) - np.kron(transition, transition)
    solution: np.ndarray = np.linalg.solve(system, noise.ravel()).reshape(size, size)
    return 0.5 * (solution + solution.T)


def planted_problem(case: Case) -> PlantedProblem:
    """Benchmark A, B, C or D of docs/learning.md, scaled to volatilities of about 0.001 per bar.

    Scaling by s (returns x s, gamma / s and lambda / s) leaves the optimal holdings unchanged and multiplies utility
    by s.
    """
    if case == "D":
        volatility = np.array([0.005, 0.0055, 0.006, 0.01, 0.022, 0.011, 0.014, 0.0105])
        correlation = np.full((8, 8), 0.2)
        correlation[:3, :3], correlation[5:, 5:] = 0.6, 0.85
        np.fill_diagonal(correlation, 1.0)
        loadings = 0.05 * volatility[:, None] * np.random.default_rng(1).normal(size=(8, 3))
        reversion, cost, scale = np.array([0.5, 0.1, 0.01]), 20.0, 0.1
        covariance = correlation * np.outer(volatility, volatility)
    else:
        rates, weights, cost = {
            "A": ([0.1], [1.0], 5.0),
            "B": ([0.5, 0.02], [1.0, 1.0], 5.0),
            "C": ([0.5, 0.02], [1.0, 0.5], 50.0),
        }[case]
        reversion, loadings, covariance, scale = np.array(rates), np.array([weights]), np.eye(1), 0.001
    return PlantedProblem(
        loadings=loadings * scale,
        reversion=reversion,
        covariance=covariance * scale**2,
        factor_covariance=np.diag(1.0 - (1.0 - reversion) ** 2),
        risk_aversion=1.0 / scale,
        cost=cost / scale,
        scale=scale,
    )


def planted_market(key: jax.Array, num_paths: int, num_bars: int, case: Case) -> tuple[Bars, jax.Array, PlantedProblem]:
    """Draw the bars of a planted market and its factors [P, T, K]; also returns the problem.

    factors[:, t] are known at the close of bar t and drive the return until the close of t + 1, which is all of bar
    t + 1, because it opens at the close of t. Spreads are zero, all bars are tradable, and the symbols are PLANTED1,
    PLANTED2, ... The first bar does not move.
    """
    problem = planted_problem(case)
    close, factors = _draw_planted(
        key,
        jnp.asarray(problem.loadings, jnp.float32),
        jnp.asarray(1.0 - problem.reversion, jnp.float32),
        jnp.asarray(np.linalg.cholesky(problem.covariance), jnp.float32),
        num_paths,
        num_bars,
    )
    return _bars("PLANTED", close), factors, problem


def drift_market(key: jax.Array, num_paths: int, num_bars: int) -> tuple[Bars, jax.Array]:
    """Draw the bars of market E and its features [P, T, N, 5].

    The optimal policy is not known; a tuned rule earns about 0.15. The return of a bar is m + u, in units of
    DRIFT_VOLATILITY, where u is standard normal and m is a hidden AR(1) with coefficient 0.97 and stationary standard
    deviation 0.15. features[:, t] depend on returns up to bar t. Spreads are zero: the account charges DRIFT_COST.
    """
    close, features = _draw_drift(key, num_paths, num_bars)
    return _bars("DRIFT", close), features


def _bars(name: str, close: jax.Array) -> Bars:
    """Bars of instruments NAME1, NAME2, ... from closes [P, T, N]; they open at the previous close, without spread."""
    open_ = jnp.concatenate([close[:, :1], close[:, :-1]], axis=1)
    return Bars(
        symbols=tuple(f"{name}{number + 1}" for number in range(close.shape[-1])),
        timestamps=clock(close.shape[1]),
        open=open_,
        high=jnp.maximum(open_, close),
        low=jnp.minimum(open_, close),
        close=close,
        spread=jnp.zeros_like(close),
        volume=jnp.ones_like(close),
        tradable=jnp.ones(close.shape, bool),
    )


@functools.partial(jax.jit, static_argnames=("num_paths", "num_bars"))
def _draw_drift(key: jax.Array, num_paths: int, num_bars: int) -> tuple[jax.Array, jax.Array]:
    """Draw closes [P, T, N] and standardised trends [P, T, N, 5] of market E, its drift stationary from the start."""
    shape = (num_bars, num_paths, _DRIFT_INSTRUMENTS)
    shocks, noise = jax.random.normal(key, (2, *shape), jnp.float32)
    weight = jnp.asarray([1.0 / span for span in DRIFT_FEATURES], jnp.float32)
    innovation = _DRIFT_DEVIATION * (1.0 - _DRIFT_PERSISTENCE**2) ** 0.5

    def step(
        carry: tuple[jax.Array, jax.Array], bar: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        drift, trend = carry
        shock, noise = bar
        change = drift + noise
        trend = trend + weight[None, None] * (change[..., None] - trend)
        return (_DRIFT_PERSISTENCE * drift + innovation * shock, trend), (change, trend)

    start = (_DRIFT_DEVIATION * shocks[0], jnp.zeros((*shape[1:], len(DRIFT_FEATURES)), jnp.float32))
    _, (change, trend) = jax.lax.scan(step, start, (jnp.roll(shocks, -1, axis=0), noise))
    # The noise adds 1; the drift adds its variance times (1 + q) / (1 - q), with q = (1 - weight) x persistence.
    fade = (1.0 - weight) * _DRIFT_PERSISTENCE
    variance = 1.0 + _DRIFT_DEVIATION**2 * (1.0 + fade) / (1.0 - fade)
    deviation = jnp.sqrt(variance * weight / (2.0 - weight))
    close = _START_PRICE * jnp.exp(jnp.cumsum(jnp.log1p(DRIFT_VOLATILITY * change), axis=0))
    return jnp.swapaxes(close, 0, 1), jnp.swapaxes(trend / deviation[None, None, None], 0, 1)


@functools.partial(jax.jit, static_argnames=("num_paths", "num_bars"))
def _draw_planted(
    key: jax.Array, loadings: jax.Array, decay: jax.Array, mixing: jax.Array, num_paths: int, num_bars: int
) -> tuple[jax.Array, jax.Array]:
    """Draw closes [P, T, N] and factors [P, T, K], stationary from the first bar on."""
    size, count = loadings.shape
    normals = jax.random.normal(key, (num_bars, num_paths, size + count), jnp.float32)
    shocks, noise = normals[..., :count], normals[..., count:] @ mixing.T
    innovation = jnp.sqrt(1.0 - jnp.square(decay))[None]

    def step(factor: jax.Array, shock: jax.Array) -> tuple[jax.Array, jax.Array]:
        factor = decay[None] * factor + innovation * shock
        return factor, factor

    _, later = jax.lax.scan(step, shocks[0], shocks[1:])
    factors = jnp.concatenate([shocks[:1], later])
    expected = jnp.einsum("tpk,nk->tpn", factors[:-1], loadings, precision=jax.lax.Precision.HIGHEST)
    log_return = jnp.log1p(expected + noise[1:])
    log_close = jnp.concatenate([jnp.zeros_like(noise[:1]), jnp.cumsum(log_return, axis=0)])
    return jnp.swapaxes(_START_PRICE * jnp.exp(log_close), 0, 1), jnp.swapaxes(factors, 0, 1)
