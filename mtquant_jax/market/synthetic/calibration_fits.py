"""Turns sizes of standardised returns into regimes, stochastic volatility, tails and jumps; moment fits in NumPy.

Every fit is a grid search or a few closed-form steps: no optimiser whose result depends on its start.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping

import numpy as np
from scipy import signal, special

from mtquant_jax.market.synthetic.parameters import tail_factors

_LAGS = np.array([*range(1, 25), *range(48, 481, 24)])  # bars: every hour of a day, then whole days
_FAST, _SLOW = np.linspace(0.30, 0.95, 27), np.linspace(0.97, 0.999, 30)
_MAX_VARIANCE = 0.5  # of log volatility: sizes of 0.3 to 4 times the mean within two deviations
_MIN_DAYS = 100
_DOF = np.array([2.6, 2.8, 3.0, 3.25, 3.5, 3.75, 4.0, 4.5, 5.0, 6.0, 8.0, 12.0])
_JUMP_RATES, _JUMP_SIZES = (0.0005, 0.001, 0.002, 0.005), (4.0, 6.0, 8.0, 11.0)
_QUANTILES = np.array([0.5, 0.75, 0.9, 0.97, 0.99, 0.995, 0.998, 0.999])
_QUANTILE_WEIGHTS = np.array([0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0]) / 10.0  # the middle is ticks, the tails are risk
_KURTOSIS_WEIGHT = 0.2  # one history determines the fourth moment within tens of percent, a quantile within a few
_SAMPLES, _SAMPLE_BARS, _SHORT_LIST = 15, 14_000, 20


@dataclasses.dataclass(frozen=True)
class Regimes:
    """Two volatility regimes, common to all instruments, and the bars of the turbulent one."""

    entry: float  # probability per bar of entering the turbulent one
    exit: float  # probability per bar of leaving it
    turbulent: np.ndarray  # [T] bool


def find_regimes(log_sizes: np.ndarray, day: np.ndarray) -> Regimes:
    """Fit regimes to log |standardised return| [N, T], NaN where there is none, and the day [T] of each bar.

    Hamilton's two-state chain with normal noise is fitted to the daily mean over instruments by expectation
    maximisation. Days with fewer than half the median number of bars take the state of their neighbours. There are no
    regimes if there are fewer than 100 days, or if one of the two holds fewer than 10 of them.
    """
    days, of_bar = np.unique(day, return_inverse=True)
    centred = log_sizes - np.nanmean(log_sizes, axis=1, keepdims=True)
    known = np.isfinite(centred)
    count = np.bincount(of_bar, known.sum(axis=0), len(days))
    sums = np.bincount(of_bar, np.where(known, centred, 0.0).sum(axis=0), len(days))
    full = count > 0.5 * np.median(count)
    none = Regimes(0.0, 1.0, np.zeros(len(day), bool))
    if full.sum() < _MIN_DAYS:
        return none
    turbulent, stay = _two_states(sums[full] / count[full])
    if min(turbulent.sum(), (~turbulent).sum()) < 10:
        return none
    nearest = np.clip(np.searchsorted(np.flatnonzero(full), np.arange(len(days)), side="right") - 1, 0, None)
    bars_a_day = len(day) / full.sum()
    return Regimes(
        entry=float((1.0 - stay[0]) / bars_a_day),
        exit=float((1.0 - stay[1]) / bars_a_day),
        turbulent=turbulent[nearest][of_bar],
    )


def _two_states(level: np.ndarray, iterations: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return the days [D] that are likelier in the state with the higher mean, and the probabilities [2] of staying."""
    mean = np.quantile(level, [0.4, 0.95])
    deviation = np.full(2, level.std())
    stay = np.array([0.97, 0.9])
    for _ in range(iterations):
        transition = np.array([[stay[0], 1.0 - stay[0]], [1.0 - stay[1], stay[1]]])
        likelihood = np.exp(-0.5 * ((level[:, None] - mean) / deviation) ** 2) / deviation + 1e-12
        posterior, pairs = _smooth(likelihood, transition)
        weight = posterior.sum(axis=0)
        mean = (posterior * level[:, None]).sum(axis=0) / weight
        deviation = np.sqrt((posterior * (level[:, None] - mean) ** 2).sum(axis=0) / weight) + 1e-3
        stay = np.clip(np.diag(pairs) / pairs.sum(axis=1), 0.5, 0.999)
    return posterior[:, int(np.argmax(mean))] > 0.5, stay[np.argsort(mean)]


def _smooth(likelihood: np.ndarray, transition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run the forward-backward algorithm: state probabilities [D, 2] and expected numbers of transitions [2, 2]."""
    forward, backward = np.ones_like(likelihood), np.ones_like(likelihood)
    state = np.full(2, 0.5)
    for index, one in enumerate(likelihood):
        state = (state if index == 0 else state @ transition) * one
        state = forward[index] = state / state.sum()
    pairs = np.zeros((2, 2))
    for index in range(len(likelihood) - 2, -1, -1):
        ahead = likelihood[index + 1] * backward[index + 1]
        both = forward[index][:, None] * transition * ahead
        pairs += both / both.sum()
        behind = transition @ ahead
        backward[index] = behind / behind.sum()
    posterior = forward * backward
    return posterior / posterior.sum(axis=1, keepdims=True), pairs


def stochastic_volatility(log_size: np.ndarray) -> dict[str, float]:
    """Fit the persistence and the stationary standard deviation of the fast and the slow part of log volatility.

    The autocovariance of log |return| at lag k is v1 p1^k + v2 p2^k, whatever the tails of the noise (Harvey, Ruiz and
    Shephard 1994). It is fitted by least squares over a grid of the two persistences. Taken about the sample mean, it
    is smaller by the variance of that mean, which is large where volatility wanders for months.
    """
    wanted = np.array([covariance(log_size[:-lag], log_size[lag:]) for lag in _LAGS if lag < len(log_size) // 2])
    lags = _LAGS[: len(wanted)]
    best, found = np.inf, (0.5, 0.0, 0.99, 0.0)
    for fast, slow in itertools.product(_FAST, _SLOW):
        decay = np.stack([one**lags - _variance_of_mean(one, len(log_size)) for one in (fast, slow)], axis=1)
        variance = np.linalg.lstsq(decay, wanted, rcond=None)[0]
        if variance[0] < 0.0:
            variance = np.array([0.0, decay[:, 1] @ wanted / (decay[:, 1] @ decay[:, 1])])
        elif variance[1] < 0.0:
            variance = np.array([decay[:, 0] @ wanted / (decay[:, 0] @ decay[:, 0]), 0.0])
        variance = np.maximum(variance, 1e-4)
        error = float(np.sum((wanted - decay @ variance) ** 2))
        if error < best:
            best, found = error, (fast, variance[0], slow, variance[1])
    scale = min(1.0, _MAX_VARIANCE / (found[1] + found[3]))
    return {
        "fast_persistence": float(found[0]),
        "fast_volatility": float(np.sqrt(found[1] * scale)),
        "slow_persistence": float(found[2]),
        "slow_volatility": float(np.sqrt(found[3] * scale)),
    }


def _variance_of_mean(persistence: float, size: int) -> float:
    """Variance of the mean of `size` steps of an AR(1) process of unit variance."""
    rest = 1.0 - persistence
    total = (1.0 + persistence) / rest - 2.0 * persistence * (1.0 - persistence**size) / (size * rest**2)
    return float(total / size)


def covariance(left: np.ndarray, right: np.ndarray) -> float:
    """Covariance of two series where both are finite."""
    both = np.isfinite(left) & np.isfinite(right)
    left, right = left[both], right[both]
    return float(np.mean((left - left.mean()) * (right - right.mean())))


def tails(scaled: np.ndarray, volatility: Mapping[str, float], turbulent: np.ndarray) -> dict[str, float]:
    """Fit the degrees of freedom of Student-t and the rate and size of jumps to returns over their hour's volatility.

    A grid search compares the logarithms of quantiles of |return| and of the kurtosis of a history with those of model
    histories of two years: a Student-t and jumps under the volatility of `stochastic_volatility` and the regimes of
    `draw_regimes`. The samples are whole histories, because kurtosis grows with the sample size and one history shows
    only a part of a persistent volatility.
    """
    found = scaled[np.isfinite(scaled)]
    found = found / np.sqrt(np.mean(found**2))
    wanted = np.log(np.maximum(np.quantile(np.abs(found), _QUANTILES), 1e-3))
    histories = np.array_split(found, max(1, round(len(found) / _SAMPLE_BARS)))
    wanted_kurtosis = np.log(np.median([np.mean(one**4) / np.mean(one**2) ** 2 for one in histories]))
    normal, tail, shocks, jump, when = _draws()
    level = np.exp(_autoregressions(shocks, volatility) + volatility["turbulence"] * turbulent).astype(np.float32)

    def error(candidate: tuple[int, float, float], count: int) -> float:
        """Distance of a candidate from the history, by the first `count` model histories."""
        index, rate, size = candidate
        noise = np.float32(max(1.0 - rate * size**2, 0.1) ** 0.5) * tail[index, :count] * normal[:count]
        jumps = np.hypot(noise, np.float32(size) * jump[:count])  # a jump and the noise are one wider normal
        square = np.square(level[:count] * np.where(when[:count] < rate, jumps, noise))
        square /= square.mean(axis=1, keepdims=True)
        # Roots and logarithms follow the quantiles: of eight numbers instead of fourteen thousand.
        quantiles = 0.5 * np.log(np.quantile(square, _QUANTILES, axis=1)).mean(axis=1)
        kurtosis = np.log(np.median(np.mean(np.square(square), axis=1, dtype=np.float64)))
        return float(
            _QUANTILE_WEIGHTS @ (quantiles - wanted) ** 2 + _KURTOSIS_WEIGHT * (kurtosis - wanted_kurtosis) ** 2
        )

    jumps = [(0.0, 0.0), *itertools.product(_JUMP_RATES, _JUMP_SIZES)]
    candidates = [(index, rate, size) for index in range(len(_DOF)) for rate, size in jumps]
    candidates.sort(key=functools.partial(error, count=_SAMPLES // 3))
    index, rate, size = min(candidates[:_SHORT_LIST], key=functools.partial(error, count=_SAMPLES))
    return {"tail_dof": float(_DOF[index]), "jump_rate": rate, "jump_size": size}


def draw_regimes(entry: float, exit_: float) -> np.ndarray:
    """Draw the turbulent bars [S, B] bool of the model histories in `tails`, from probabilities per bar."""
    chance = np.random.default_rng(1).random((_SAMPLES, _SAMPLE_BARS))
    turbulent = np.zeros(chance.shape, bool)
    turbulent[:, 0] = chance[:, 0] < entry / max(entry + exit_, 1e-9)
    for bar in range(1, _SAMPLE_BARS):
        turbulent[:, bar] = np.where(turbulent[:, bar - 1], chance[:, bar] >= exit_, chance[:, bar] < entry)
    return turbulent


def _autoregressions(shocks: np.ndarray, volatility: Mapping[str, float]) -> np.ndarray:
    """Log volatility [S, B] from independent normals [2, S, B]: the fast and the slow part together."""
    parts = []
    for name, normals in zip(("fast", "slow"), shocks, strict=True):
        persistence, deviation = volatility[f"{name}_persistence"], volatility[f"{name}_volatility"]
        driven = normals * np.sqrt(1.0 - persistence**2)
        driven[:, 0] = normals[:, 0]  # of stationary size, so that all later values are stationary
        parts.append(deviation * signal.lfilter([1.0], [1.0, -persistence], driven, axis=1))  # type: ignore[attr-defined]
    both: np.ndarray = parts[0] + parts[1]
    return both


def extreme_correlation(probability: float, quantile: float) -> float:
    """Find the correlation, 0 to 0.95, of two normals from the probability that one is extreme given that the other is.

    P = 1 / (1 - q) times the integral from z_q of phi(x) Phi((rho x - z_q) / sqrt(1 - rho^2)), inverted on a grid.
    """
    limit = float(special.ndtri(quantile))
    x = limit + np.linspace(0.0, 4.0, 401)
    weight = np.exp(-0.5 * x**2)
    weight /= weight.sum()
    rho = np.linspace(0.0, 0.95, 96)[:, None]
    conditional = special.ndtr((rho * x - limit) / np.sqrt(1.0 - rho**2)) @ weight
    return float(np.interp(probability, conditional, rho[:, 0]))


@functools.cache
def _draws() -> tuple[np.ndarray, ...]:
    """Common random numbers of all fits: normals, tail factors by dof, volatility shocks, jumps, and jump times."""
    rng = np.random.default_rng(0)
    shape = (_SAMPLES, _SAMPLE_BARS)
    normal, jump, position = rng.standard_normal((3, *shape))
    shocks = rng.standard_normal((2, *shape))
    grid = np.linspace(-4.5, 4.5, 181)
    tail = np.exp(np.stack([np.interp(position, grid, np.log(row)) for row in tail_factors(_DOF, grid)]))
    draws = (normal, tail, shocks, jump, rng.random(shape))
    return tuple(x.astype(np.float32) for x in draws)
