"""One turn of live trading: finished bars -> a decision -> orders that lead from held to wanted lots, or a refusal.

A turn is made again and again, more often than there are bars. What it must know is on disk, so that nothing is lost
or done twice where the program is stopped in between.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtquant_jax.deploy.broker import AccountState, Broker, BrokerUnavailable, Execution, Order, net_lots
from mtquant_jax.deploy.journal import Journal, LiveState, stamp
from mtquant_jax.deploy.rules import (
    LiveRules,
    Trained,
    check_rules,
    refuse_account,
    refuse_other_market,
    refuse_other_positions,
)
from mtquant_jax.deploy.sending import Scene, Sender
from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import broker_days
from mtquant_jax.types import Bars

WAITING, TRADED, DRY_RUN, OFFLINE, CLOSING, STOPPED = "waiting", "traded", "dry run", "offline", "closing", "stopped"
"""States of a turn: nothing to send, orders sent, orders checked, broker not reached, closing all, all closed."""
_AHEAD = 120.0  # seconds by which the broker's clock may be ahead of ours


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A decision."""

    bar_time: int
    """Open of the newest bar that it is made on, seconds since 1970 UTC."""
    lots: Mapping[str, float]
    """Signed lots to hold by symbol, of all symbols."""
    notes: tuple[str, ...] = ()
    """Sentences for the journal."""


Decide = Callable[[Bars], Wanted]
"""Finished bars ``[1, T, N]``, oldest first -> the decision at the end of the last one."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """What a turn did."""

    state: str
    """One of the states above."""
    messages: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    """That were sent, or would have been in a dry run."""
    executions: tuple[Execution, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether trading has stopped, so that no further turn is of use."""
        return self.state == STOPPED


@dataclasses.dataclass(frozen=True)
class LiveTrading:
    """A model that trades an account."""

    decide: Decide
    broker: Broker
    rules: LiveRules
    trained: Trained
    folder: Path
    """Of state, heartbeat, journal and trades; of one account and one model."""

    def turn(self, now: float) -> Turn:
        """Make one turn.

        Args:
            now: seconds since 1970 UTC.

        Returns:
            What was done. A broker that cannot be reached is a state, and an order that is refused a message.

        Raises:
            UserError: a person must change something: the account, its currency, a contract, a rule, a damaged file,
                or what the broker or the model returns.
        """
        check_rules(self.rules)
        journal = Journal(self.folder)
        try:
            made, about = self._turn(journal, now)
        except BrokerUnavailable as error:
            made, about = Turn(OFFLINE, (str(error),)), {}
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written: {error.strerror or error}") from None
        except UserError as error:
            journal.beat(now, {"state": "refused", "messages": [str(error)]})
            journal.write(now, "refused", message=str(error))
            raise
        journal.beat(now, {"state": made.state, "messages": made.messages, **about})
        return made

    def _turn(self, journal: Journal, now: float) -> tuple[Turn, dict[str, object]]:
        """The turn, and what the heartbeat says of the account."""
        account = self.broker.account()
        refuse_account(account, self.rules)
        state = _of_today(journal.state(account.login), account, self.trained.clock, now)
        reason, state = _halt(self.rules, journal.folder, state, account)
        journal.save(state)  # so that neither the day's first equity nor its end is forgotten, whatever follows
        positions = self.broker.positions()
        if reason:
            symbols = list(dict.fromkeys(found.symbol for found in positions if found.magic == self.rules.magic))
            contracts = self.broker.contracts(symbols)
            state = _closing(state, reason, symbols, journal, now)
        else:
            contracts = self.broker.contracts(self.trained.symbols)
            refuse_other_market(account, contracts, self.trained)
            refuse_other_positions(positions, self.rules, self.trained)
            state = self._decided(dataclasses.replace(state, closing=""), account, journal, now)
        journal.save(state)
        quotes = self.broker.quotes(list(contracts)) if contracts else {}
        scene = Scene(account, positions, contracts, self.trained.instruments, quotes, now)
        sender = Sender(self.broker, journal, self.rules, scene, state)
        made = self._sent(sender)
        about = {
            "login": account.login,
            "currency": account.currency,
            "equity": account.equity,
            "day_equity": state.day_equity,
            "bar": stamp(state.last_bar) if state.last_bar else None,
            "wanted": state.wanted,
            "held_before": net_lots(positions, self.rules.magic),
            "pending": sender.state.pending,
        }
        return made, about

    def _sent(self, sender: Sender) -> Turn:
        """Send what is pending; the turn that comes of it."""
        reason = sender.state.closing
        if reason:
            sender.messages.append(f"Trading stops: {reason}.")
        try:
            sender.adopt()
            sender.send_pending()
            if reason:
                left = any(position.magic == self.rules.magic for position in self.broker.positions())
                state = CLOSING if left and self.rules.send else STOPPED
            else:
                state = TRADED if sender.executions else DRY_RUN if sender.orders else WAITING
        except BrokerUnavailable as error:
            state = OFFLINE
            sender.messages.append(str(error))
        return Turn(state, tuple(sender.messages), tuple(sender.orders), tuple(sender.executions))

    def _decided(self, state: LiveState, account: AccountState, journal: Journal, now: float) -> LiveState:
        """The state with a new decision, all of whose symbols are pending; unchanged where there is no new bar."""
        trained = self.trained
        bars = self.broker.bars(trained.symbols, trained.seconds, trained.count)
        newest = _newest(bars, trained, now)
        if newest <= state.last_bar:
            return state
        wanted = self.decide(bars)
        _check_wanted(wanted, newest, trained)
        lots = {symbol: wanted.lots[symbol] * self.rules.capital_share for symbol in trained.symbols}
        about = {"notes": wanted.notes, "notices": bars.notices}
        journal.write(now, "decision", bar=stamp(newest), lots=lots, equity=account.equity, **about)
        return dataclasses.replace(
            state,
            last_bar=newest,
            bars=state.bars + (int(np.count_nonzero(bars.timestamps > state.last_bar)) if state.last_bar else 1),
            wanted=lots,
            pending=dict.fromkeys(trained.symbols, ""),
        )


def _of_today(state: LiveState, account: AccountState, clock: str, now: float) -> LiveState:
    """The state with the first equity of the broker's day."""
    if not math.isfinite(account.equity):
        raise UserError(f"the broker says that account {account.login} has an equity of {account.equity}")
    day = int(broker_days(np.array([int(now)], np.int64), clock)[0])
    if state.day == day:
        return state
    if not account.equity > 0.0:
        raise UserError(
            f"account {account.login} has an equity of {account.equity:g} {account.currency}: none to trade"
        )
    return dataclasses.replace(state, day=day, day_equity=account.equity)


def _halt(rules: LiveRules, folder: Path, state: LiveState, account: AccountState) -> tuple[str, LiveState]:
    """Why trading must stop, or nothing; and the state, which remembers the loss of a day until the day is over."""
    loss = 1.0 - account.equity / state.day_equity
    if 0.0 < rules.max_day_loss <= loss:
        state = dataclasses.replace(state, halted_day=state.day)
    stop = folder / rules.stop_file
    if stop.exists():
        return f"the file {stop} is there; remove it to trade again", state
    if state.halted_day == state.day:
        return (
            f"the loss since {state.day_equity:,.2f}, the day's first equity, reached {rules.max_day_loss:.2%}",
            state,
        )
    return "", state


def _closing(state: LiveState, reason: str, symbols: Sequence[str], journal: Journal, now: float) -> LiveState:
    """The state in which nothing is wanted of any symbol that we hold."""
    if state.closing != reason:
        journal.write(now, "stop", message=reason)
        state = dataclasses.replace(state, closing=reason, pending={})
    pending = {symbol: state.pending.get(symbol, "") for symbol in symbols}
    return dataclasses.replace(state, wanted=dict.fromkeys(symbols, 0.0), pending=pending)


def _newest(bars: Bars, trained: Trained, now: float) -> int:
    """Open of the newest bar, which must be over."""
    if bars.symbols != trained.symbols:
        raise UserError(f"the broker gave bars of {', '.join(bars.symbols)} for {', '.join(trained.symbols)}")
    if not len(bars.timestamps):
        raise UserError("the broker gave no bars")
    newest = int(bars.timestamps[-1])
    if newest + trained.seconds > now + _AHEAD:
        raise UserError(
            f"the broker gave the bar of {stamp(newest)}, which ends at {stamp(newest + trained.seconds)}, and it is "
            f"{stamp(now)}; only finished bars may be decided on"
        )
    return newest


def _check_wanted(wanted: Wanted, newest: int, trained: Trained) -> None:
    """Refuse a decision on another bar, of other symbols, or of lots that are no numbers."""
    if wanted.bar_time != newest:
        raise UserError(f"the decision is on the bar of {stamp(wanted.bar_time)}, and the newest is of {stamp(newest)}")
    if set(wanted.lots) != set(trained.symbols):
        other = sorted(set(wanted.lots) ^ set(trained.symbols))
        raise UserError(f"the decision must be on all symbols of the model and no others; wrong: {', '.join(other)}")
    for symbol, lots in wanted.lots.items():
        if not math.isfinite(lots):
            raise UserError(f"the decision on {symbol} is {lots} lots, which is no number")
