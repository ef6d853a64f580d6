"""The account against an independent ledger in float64 (`ledger`), over thousands of bars and hundreds of accounts."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.contracts import contracts
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars, MarketTable
from tests.conftest import make_rules
from tests.simulation.ledger import Ledger, Prices, factors, nights_by_calendar, terms_of
from tests.simulation.proof_markets import INSTRUMENTS, SYMBOLS, cut, many_accounts, stormy_bars, tables

NUM_STEPS, NUM_CASES = 5000, 200
TOLERANCE = 1e-5
MODES = ("points", "money", "interest")
SWAPS = {"points": (-6.5, 1.5), "money": (-5.3, 2.1), "interest": (-5.0, 1.5)}


def broker(turn: int) -> dict[str, Instrument]:
    """The shipped instruments with slippage, and each swap mode on other instruments in every turn."""
    terms = {}
    for i, (symbol, instrument) in enumerate(INSTRUMENTS.items()):
        mode = MODES[(i + turn) % 3]
        money = 0.01 if mode == "money" and instrument.contract_size == 1 else 1.0  # an index lot is small
        long, short = (money * value for value in SWAPS[mode])
        terms[symbol] = dataclasses.replace(
            instrument,
            swap_mode=mode,
            swap_long=long,
            swap_short=short,
            slippage=float(i % 3),
            slippage_volatility=0.05 * (i % 2),
            max_lot=50.0,
        )
    return terms


BROKERS = [broker(turn) for turn in range(3)]


def prices_of(bars: Bars, table: MarketTable, currency: str) -> Prices:
    """Inputs of the ledger: the bars themselves, and only the volatility estimate of the table.

    Prices are rounded to float32, because those are the traded prices: the quote of 1.10007 is off by 3e-8, which adds
    up to 1.7e-5 after 5 000 bars in an account that turns over 16 times its equity per bar.
    """
    opened, close, spread = (np.asarray(x, np.float32).astype(float)[0] for x in (bars.open, bars.close, bars.spread))
    path = ("USD", "EUR").index(currency)
    covariance = np.asarray(table.covariance[path], float)
    return Prices(
        open=opened,
        close=close,
        spread=spread,
        tradable=np.asarray(bars.tradable)[0],
        k_open=factors(SYMBOLS, INSTRUMENTS, opened, currency, fees=False),
        k_close=factors(SYMBOLS, INSTRUMENTS, close, currency, fees=False),
        k_fee=factors(SYMBOLS, INSTRUMENTS, opened, currency, fees=True),
        nights=nights_by_calendar(bars.timestamps, [INSTRUMENTS[s].triple_swap_day for s in SYMBOLS]),
        volatility=np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)),
        covariance=covariance,
    )


@dataclasses.dataclass
class Cases:
    """Random accounts: their target weights ``[K, T, N]``, markets and rules ``[K]``."""

    targets: np.ndarray
    path: np.ndarray  # 0 for an account in USD, 1 for one in EUR
    turn: np.ndarray  # index of the broker
    rules: dict[str, np.ndarray]


def draw(generator: np.random.Generator, num_cases: int, num_steps: int) -> Cases:
    """Draw weights that are held for some bars, changed or closed; some accounts are far too large for their margin."""
    shape = (num_cases, num_steps, len(SYMBOLS))
    size = generator.choice([0.1, 0.3, 1.0, 3.0], num_cases, p=[0.3, 0.4, 0.2, 0.1])[:, None, None]
    pace = generator.choice([0.01, 0.1, 0.5], num_cases)[:, None, None]
    changes = generator.random(shape) < pace
    changes[:, 0] = True
    drawn = size * generator.uniform(-1.0, 1.0, shape) * (generator.random(shape) < 0.7)
    latest = np.maximum.accumulate(np.where(changes, np.arange(num_steps)[None, :, None], 0), axis=1)
    targets = np.take_along_axis(drawn, latest, axis=1).astype(np.float32)
    rules = {
        "capital": generator.choice([10_000.0, 100_000.0, 5e6], num_cases),
        "cost": generator.choice([0.0, 1.0, 1.0, 2.0], num_cases),
        "impact": generator.choice([0.0, 5.0], num_cases),
        "stop_out": generator.choice([0.5, 3.0], num_cases, p=[0.8, 0.2]),
        "ruin": np.full(num_cases, 0.2),
        "rounds": np.arange(num_cases) % 2 == 1,
    }
    return Cases(targets, np.arange(num_cases) // 2 % 2, generator.integers(0, 3, num_cases), rules)


def deviation(cases: Cases, bars: Bars, table: MarketTable) -> tuple[np.ndarray, dict[str, int]]:
    """The largest relative deviation of each account's equity ``[K]``, and counts of events."""
    offers = [contracts(SYMBOLS, terms) for terms in BROKERS]
    chosen = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=0)[cases.turn], *offers)
    given_rules = {
        "initial_capital": cases.rules["capital"],
        "cost_multiplier": cases.rules["cost"],
        "impact": cases.rules["impact"],
        "stop_out_level": cases.rules["stop_out"],
        "ruin_level": cases.rules["ruin"],
        "round_lots": cases.rules["rounds"],
    }
    num_cases, num_steps = cases.targets.shape[:2]
    base = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_cases,)), make_rules())
    rules = base.replace(**{name: jnp.asarray(v, getattr(base, name).dtype) for name, v in given_rules.items()})
    out = many_accounts(jnp.asarray(cases.targets), jnp.asarray(cases.path), table, chosen, rules)
    out = jax.tree.map(np.asarray, out)
    worst = np.zeros(num_cases)
    seen = {"stopped": int(out["stopped"].sum()), "ruined": int(out["ruined"].sum()), "ties": 0}
    for path, currency in enumerate(("USD", "EUR")):
        ids = np.flatnonzero(cases.path == path)
        if not ids.size:
            continue
        terms = terms_of(
            [[BROKERS[cases.turn[i]][s] for s in SYMBOLS] for i in ids],
            **{name: value[ids] for name, value in cases.rules.items()},
        )
        prices = prices_of(bars, table, currency)
        ledger = Ledger(terms, prices)
        before = np.ones((len(ids), 1))  # equity before the bar, of which `traded` is a share
        for t in range(num_steps):
            value = terms.contract * prices.open[t + 1] * prices.k_open[t + 1]
            lots = out["traded"][ids, t] * np.maximum(before, 1e-6) * terms.capital / value
            equity, stopped, ruined = ledger.bar(t, cases.targets[ids, t].astype(float), lots)
            theirs = out["equity"][ids, t]
            worst[ids] = np.maximum(worst[ids], np.abs(theirs * terms.capital[:, 0] / equity - 1.0))
            np.testing.assert_array_equal(stopped, out["stopped"][ids, t], f"stop-outs at bar {t}")
            np.testing.assert_array_equal(ruined, out["ruined"][ids, t], f"ruins at bar {t}")
            ended = stopped | ruined
            if ended.any():
                ledger.reset(ended)
            before = np.where(ended, 1.0, theirs)[:, None].astype(float)
        seen["ties"] += ledger.ties
        for name in ("commission", "slippage", "swap", "impact"):  # the named flows add up to those of the ledger
            flows = getattr(out["flows"], name)[ids].astype(float).sum((1, 2)) * terms.capital[:, 0]
            scale = terms.capital[:, 0] * 1e-5 + np.abs(ledger.paid[name])
            assert np.max(np.abs(flows - ledger.paid[name]) / scale) < 1e-3, name
    return worst, seen


@functools.cache
def short_market() -> tuple[Bars, MarketTable]:
    bars = stormy_bars(3, 202)
    return bars, tables(bars, INSTRUMENTS)


def check(cases: Cases, bars: Bars, record_property, name: str) -> None:
    table = tables(bars, INSTRUMENTS)
    worst, seen = deviation(cases, bars, table)
    record_property("largest_deviation", float(worst.max()))
    for what, count in seen.items():
        record_property(what, count)
    print(f"\n{name}: largest deviation {worst.max():.2e}, median {np.median(worst):.2e}; {seen}")
    assert worst.max() < TOLERANCE
    assert seen["stopped"] > 0 and seen["ruined"] > 0


@pytest.mark.slow
def test_200_accounts_over_5000_stormy_bars_agree_with_the_ledger(record_property):
    cases = draw(np.random.default_rng(11), NUM_CASES, NUM_STEPS)
    check(cases, stormy_bars(1, NUM_STEPS + 2), record_property, "stormy")


@pytest.mark.slow
def test_200_accounts_over_5000_real_bars_agree_with_the_ledger(real_data, record_property):
    bars, _ = load_bars(real_data, SYMBOLS, INSTRUMENTS)
    cases = draw(np.random.default_rng(12), NUM_CASES, NUM_STEPS)
    check(cases, cut(bars, 3000, 3000 + NUM_STEPS + 2), record_property, "real")


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    capital=st.floats(1_000.0, 1e7),
    cost=st.floats(0.0, 5.0),
    impact=st.floats(0.0, 20.0),
    rounds=st.booleans(),
)
def test_accounts_of_any_size_and_cost_agree_with_the_ledger(seed, capital, cost, impact, rounds):
    cases = draw(np.random.default_rng(seed), 4, 120)
    given_rules = {"capital": capital, "cost": cost, "impact": impact, "rounds": rounds}
    given_rules = {name: np.full(4, np.float32(v) if name != "rounds" else v) for name, v in given_rules.items()}
    cases.rules |= {name: v.astype(float) if name != "rounds" else v for name, v in given_rules.items()}
    worst, _ = deviation(cases, *short_market())
    assert worst.max() < TOLERANCE
