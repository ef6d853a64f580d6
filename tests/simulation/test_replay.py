"""A second opinion on `bar_of_trading`: trades in lots and money, in float64, written from docs of the trading model.

The twin knows positions as a broker's statement does: lots, average price, balance in dollars. It shares nothing with
the simulation but the prices.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtquant_jax.market.bars import load_bars
from mtquant_jax.market.features import build_table
from mtquant_jax.market.instruments import contracts, load_instruments
from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.execution import bar_of_trading
from tests.conftest import f32, make_rules, make_table
from tests.simulation.markets import DEFAULT_CLASSES

CAPITAL = 100_000.0
INSTRUMENTS = load_instruments()
# Forex holds its margin in the base currency; metals, oil and indices on price, in the profit currency.
SYMBOLS = ("EURUSD", "USDJPY", "XAUUSD", "US30")
STARTS = np.array([1.1, 150.0, 2000.0, 39_000.0])
YEN = SYMBOLS.index("USDJPY")


@dataclasses.dataclass
class Broker:
    """One account at a broker."""

    size: np.ndarray  # [N] contract size
    fee: np.ndarray  # [N] dollars per lot and side
    rate: np.ndarray  # [N] margin rate
    yen: int  # position of USDJPY, whose profit is in yen
    stop_out: float
    costs: float

    def __post_init__(self):
        self.balance = CAPITAL
        self.lots = np.zeros(len(self.size))
        self.price = np.zeros(len(self.size))

    def dollars(self, bid):
        """Dollars per unit of each profit currency: 1, and 1 / USDJPY for yen."""
        factor = np.ones(len(bid))
        factor[self.yen] = 1.0 / bid[self.yen]
        return factor

    def equity(self, bid, spread):
        mark = np.where(self.lots < 0, bid + spread * self.costs, bid)  # longs at the bid, shorts at the ask
        return self.balance + np.sum(self.lots * self.size * (mark - self.price) * self.dollars(bid))

    def margin(self, bid):
        price_in_dollars = bid * self.dollars(bid)
        price_in_dollars[self.yen] = 1.0  # a lot of USDJPY is 100 000 dollars, whatever the yen does
        return np.sum(np.abs(self.lots) * self.size * price_in_dollars * self.rate)

    def deal(self, i, lots, bid, spread):
        """Buy or sell so many lots; closing parts realise q C (P_close - P_open) k."""
        if lots == 0.0:
            return
        price = bid[i] + (spread[i] * self.costs if lots > 0 else 0.0)
        self.balance -= abs(lots) * self.fee[i] * self.costs
        closing = 0.0
        if self.lots[i] * lots < 0:
            closing = np.sign(lots) * min(abs(lots), abs(self.lots[i]))
            self.balance += -closing * self.size[i] * (price - self.price[i]) * self.dollars(bid)[i]
            self.lots[i] += closing
        opening = lots - closing
        if opening != 0.0:
            self.price[i] = (self.lots[i] * self.price[i] + opening * price) / (self.lots[i] + opening)
            self.lots[i] += opening

    def is_stopped(self, bid, spread):
        margin = self.margin(bid)
        return margin > 0 and self.equity(bid, spread) / margin < self.stop_out

    def close_all(self, bid, spread, tradable):
        for i in np.flatnonzero(tradable):
            self.deal(i, -self.lots[i], bid, spread)


def replay(broker, weights, opens, closes, spreads, tradable, ruin=0.2):
    """Equity after each bar as a share of capital, and the step after which trading ended (or None)."""
    result = []
    for t, target in enumerate(weights):
        bid, spread = closes[t], spreads[t]
        equity = broker.equity(bid, spread)
        orders = target * equity / (broker.size * bid * broker.dollars(bid)) - broker.lots
        ended = broker.is_stopped(opens[t + 1], spreads[t + 1])
        if ended:
            broker.close_all(opens[t + 1], spreads[t + 1], tradable[t + 1])
        else:
            for i in np.flatnonzero(tradable[t + 1]):
                broker.deal(i, orders[i], opens[t + 1], spreads[t + 1])
        last = (closes[t + 1], spreads[t + 1])
        if not ended and broker.is_stopped(*last):
            ended, last = True, (opens[t + 2], spreads[t + 2])
            broker.close_all(*last, tradable[t + 2])
        result.append(broker.equity(*last) / CAPITAL)
        if ended or result[-1] <= ruin:
            return np.array(result), t
    return np.array(result), None


@jax.jit
def simulate(table, weights, specification, rules):
    """Equity ``[L]`` and whether each step ended the episode ``[L]``; nothing happens after an end."""

    def step(carry, row):
        account, ended = carry
        bar, target = row
        result = bar_of_trading(account, target, table, jnp.zeros((), jnp.int32), bar, specification, rules)
        ended_now = result.stopped_out | result.ruined
        return (result.account, ended | ended_now), (result.equity, ended | ended_now)

    start = (accounts.open_account(weights.shape[1]), jnp.zeros((), bool))
    return jax.lax.scan(step, start, (jnp.arange(len(weights)), weights))[1]


def exact(values):
    """What float32 keeps, in float64: both sides see the same prices."""
    return np.asarray(values, np.float32).astype(np.float64)


def random_market(generator, num_bars, volatility=1e-3):
    """Opens, closes, spreads, tradable ``[T, 4]`` with gaps, holes and changing spreads."""
    shape = (num_bars, len(SYMBOLS))
    tradable = generator.random(shape) > 0.1
    moves = volatility * generator.standard_t(4, size=shape) * tradable
    gaps = 0.3 * volatility * generator.normal(size=shape) * tradable
    gaps[::100] *= 20.0
    closes = STARTS * np.exp(np.cumsum(moves + gaps, axis=0))
    before = np.concatenate([STARTS[None], closes[:-1]])
    opens = np.where(tradable, before * np.exp(gaps), before)
    closes = np.where(tradable, closes, before)
    spreads = STARTS * 5e-5 * generator.uniform(0.5, 3.0, size=shape)
    return exact(opens), exact(closes), exact(spreads), tradable


def table_of(opens, closes, spreads, tradable, yen=YEN):
    factors = [np.ones_like(closes), np.ones_like(closes)]
    factors[0][:, yen], factors[1][:, yen] = 1.0 / opens[:, yen], 1.0 / closes[:, yen]
    return make_table(opens, closes, spread=spreads, tradable=tradable, conversion=factors)


def random_weights(generator, shape, gross):
    """Targets that are held for some bars, flip, and are now and then zero."""
    weights = np.zeros(shape)
    for t in range(shape[0]):
        new = generator.uniform(-1, 1, shape[1]) * gross / shape[1] * (generator.random(shape[1]) < 0.8)
        changes = generator.random(shape[1]) < 0.3
        weights[t] = np.where(changes, new, weights[t - 1] if t else 0.0)
    return exact(weights)


def broker_of(symbols, costs=1.0, stop_out=0.5):
    chosen = [INSTRUMENTS[symbol] for symbol in symbols]
    return Broker(
        size=np.array([i.contract_size for i in chosen]),
        fee=np.array([i.commission for i in chosen]),
        rate=np.array([i.margin_rate for i in chosen]),
        yen=symbols.index("USDJPY"),
        stop_out=stop_out,
        costs=costs,
    )


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 3.0]))
def test_two_thousand_bars_agree_with_a_float64_broker(seed, costs):
    generator = np.random.default_rng(seed)
    opens, closes, spreads, tradable = random_market(generator, 2002)
    weights = random_weights(generator, (2000, 4), gross=1.0)
    rules = make_rules(cost_multiplier=costs)
    equity, ended = simulate(
        table_of(opens, closes, spreads, tradable), f32(weights), contracts(SYMBOLS, INSTRUMENTS), rules
    )
    expected, end = replay(broker_of(SYMBOLS, costs), weights, opens, closes, spreads, tradable)
    kept = len(expected)
    np.testing.assert_allclose(np.asarray(equity)[:kept], expected, rtol=1e-5)
    assert (int(np.argmax(ended)) if np.any(ended) else None) == end
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize(("seed", "direction"), [(0, 1.0), (1, -1.0), (2, 1.0)])
@pytest.mark.parametrize("where", ["gap", "bar"])
def test_a_stop_out_happens_on_the_same_bar_at_the_same_price(seed, direction, where):
    generator = np.random.default_rng(seed)
    opens, closes, spreads, tradable = random_market(generator, 102, volatility=2e-4)
    tradable[58:64] = True
    # From bar 60 on everything is 2.2 % against the account, first seen at the open or only at the close.
    shock = 1.0 - direction * 0.022
    closes[60:] = exact(closes[60:] * shock)
    opens[61 if where == "bar" else 60 :] = exact(opens[61 if where == "bar" else 60 :] * shock)
    # 40 times leverage on a margin of 3.33 to 5 %: margin 1.3 to 2 times equity; 2.2 % takes 0.88 of it. The stop-out
    # needs the rules' level lower than what is held, and no check is near its limit.
    weights = np.broadcast_to(exact(direction * np.full(4, 10.0)), (100, 4))
    rules = make_rules(stop_out_level=0.3, ruin_level=-10.0)
    equity, ended = simulate(
        table_of(opens, closes, spreads, tradable), f32(weights), contracts(SYMBOLS, INSTRUMENTS), rules
    )
    expected, end = replay(broker_of(SYMBOLS, stop_out=0.3), weights, opens, closes, spreads, tradable, ruin=-10.0)
    assert end == 59
    assert int(np.argmax(ended)) == end
    # Forty times leverage magnifies the rounding of float32 forty times.
    np.testing.assert_allclose(np.asarray(equity)[: end + 1], expected, atol=4e-5)


def test_real_bars_agree_with_a_float64_broker(real_data):
    symbols = tuple(symbol for c in DEFAULT_CLASSES for symbol in c.symbols)
    bars, _ = load_bars(real_data, symbols, INSTRUMENTS, "2024-01-01", "2024-05-01")
    bars = dataclasses.replace(
        bars,
        **{n: getattr(bars, n)[:, :2002] for n in ("open", "high", "low", "close", "spread", "volume", "tradable")},
    )
    bars = dataclasses.replace(bars, timestamps=bars.timestamps[:2002])
    table = build_table(bars, DEFAULT_CLASSES, INSTRUMENTS, "USD")
    opens, closes, spreads = (exact(getattr(bars, name)[0]) for name in ("open", "close", "spread"))
    tradable = np.asarray(bars.tradable[0])
    assert len(closes) > 1000
    assert 0.0 < tradable.mean() < 1.0
    generator = np.random.default_rng(0)
    weights = random_weights(generator, (len(closes) - 2, len(symbols)), gross=2.0)
    equity, _ = simulate(table, f32(weights), contracts(symbols, INSTRUMENTS), make_rules())
    expected, end = replay(broker_of(symbols), weights, opens, closes, spreads, tradable)
    assert end is None
    np.testing.assert_allclose(np.asarray(equity), expected, rtol=1e-5)
