"""A training as the model of live trading: its own account on paper decides, a broker's account follows."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mtquant_jax.deploy.broker import Broker, BrokerUnavailable
from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.deploy.freshness import freshness
from mtquant_jax.deploy.live import Wanted
from mtquant_jax.deploy.paper import PaperTrader
from mtquant_jax.deploy.rules import Trained
from mtquant_jax.deploy.signal import Signal, holding_of, signal
from mtquant_jax.deploy.sources import BARS
from mtquant_jax.market.prepare import instruments_of
from mtquant_jax.types import Bars


class LiveModel:
    """Decides on a broker's bars; a `live.Decide`.

    The simulator's account is traded on the same bars in a ledger of its own, as in paper trading. Its weights are what
    the policy learnt to change; the broker's account gets the same weights of its own equity.
    """

    def __init__(
        self, run_id: str, trader: PaperTrader, broker: Broker, now: Callable[[], float] | None = None
    ) -> None:
        """``trader`` has the ledger, ``broker`` the account that follows."""
        self._run_id, self._trader, self._broker, self._now = run_id, trader, broker, now or time.time
        self.last: Signal | None = None

    def __call__(self, bars: Bars) -> Wanted:
        """The decision on the newest bar, in lots of the broker's account before rounding.

        Raises:
            UserError: the account is in another currency, or bars or ledger do not fit the training.
        """
        now, desk = int(self._now()), self._trader.desk
        fresh = freshness(bars, desk.bar_seconds, now, desk.config.simulation.broker_clock)
        if fresh.missing:
            raise BrokerUnavailable(f"{fresh.missing:,} bars that are due have not come; old ones are not decided on")
        self._trader.trade(bars, now)
        if self._trader.following.last != int(bars.timestamps[-1]):
            raise BrokerUnavailable("the broker has fewer bars than it had; old ones are not decided on")
        following = self._trader.following
        decision = following.decision()
        account = holding_of(self._broker.account(), self._broker.positions(), desk.config.simulation.account_currency)
        found = self.last = signal(following, decision, fresh, self._run_id, account)
        slots = list(desk.desk.universe.slots)
        size = np.asarray(following.market.contracts.contract_size, np.float64)[slots]
        value = size * np.asarray(decision.quote.bid * decision.quote.conversion, np.float64)[slots]
        lots = {
            row.symbol: row.permitted_weight * account.equity / worth
            for row, worth in zip(found.instruments, value, strict=True)
        }
        bound = *found.notices, *(f"{name} took {cut:.0%} of the exposure" for name, cut in found.risk_rules.items())
        others = dict.fromkeys(desk.symbols[len(slots) :], 0.0)  # instruments that only convert currencies
        return Wanted(int(bars.timestamps[-1]), lots | others, bound)


def trained_of(desk: TradingDesk) -> Trained:
    """What live trading must know of a training."""
    account = desk.config.simulation
    return Trained(
        symbols=desk.symbols,
        seconds=desk.bar_seconds,
        count=BARS,
        currency=account.account_currency,
        instruments=instruments_of(desk.config),
        clock=account.broker_clock,
    )
