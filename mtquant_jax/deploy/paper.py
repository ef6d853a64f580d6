"""Paper trading: every finished bar is traded on the simulator's own account and booked in a ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtquant_jax.deploy.decision import Decision, Outcome
from mtquant_jax.deploy.desk import Following, TradingDesk, bound_rules
from mtquant_jax.deploy.ledger import Event, Ledger
from mtquant_jax.deploy.watch import Watch, compared, prices_of
from mtquant_jax.market.bars.selection import between
from mtquant_jax.market.periods import moment
from mtquant_jax.runs.manifest import contract_hash
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.types import Bars

_ENDED = "the account was stopped out or ruined: it trades no more"
_COMPARED = 1_000  # bars at the end that are compared with what was booked of them


@dataclasses.dataclass(frozen=True)
class Booked:
    """One bar of paper trading; lots are signed, by symbol."""

    time: int  # open of the bar
    equity: float | None  # account currency, at its close; None for the bar at whose close the account opened
    fills: Mapping[str, tuple[float, float]]  # at its open: lots and price
    orders: Mapping[str, float]  # decided at its close
    events: tuple[Event, ...]


def paper_ledger(run: TrainedRun) -> Path:
    """Where paper trading of a training is booked unless another file is named."""
    return run.paths.run_dir / "paper" / "ledger.sqlite"


def about(run: TrainedRun, desk: TradingDesk) -> dict[str, str]:
    """What a ledger is of: one that differs in any of this is another account's."""
    account = desk.config.simulation
    universe = desk.desk.universe
    market = desk.market(np.arange(2) * desk.bar_seconds)
    return {
        "training": run.run_id,
        "symbols": " ".join(desk.symbols),
        "bar interval": f"{desk.bar_seconds} s",
        "account": f"{account.initial_capital!r} {account.account_currency}",
        "contracts": contract_hash(market.contracts, universe, universe.symbols),
    }


class PaperTrader:
    """Trades what comes, from where the ledger ends."""

    def __init__(self, desk: TradingDesk, ledger: Ledger) -> None:
        self.desk, self.ledger = desk, ledger
        self._following: Following | None = None
        self._unsaid: list[Event] = []  # noted without a bar that they could be told with
        self._watch: Watch | None = None

    def trade(self, bars: Bars, now: int | None, opens: int | None = None) -> list[Booked]:
        """Trade all bars that have come since the last one booked.

        Args:
            bars: finished ones, with the history that features need; those booked before are compared with the books.
            now: seconds since 1970 UTC; None for a replay, in which each bar is known at its close.
            opens: open of the bar at whose close a new account opens; None for the last bar.

        Raises:
            UserError: the bars or the ledger do not fit the training.
        """
        last = self.ledger.last
        if last is None:
            return self._open(bars, now, opens)
        recent = bars.timestamps[-_COMPARED] if len(bars.timestamps) > _COMPARED else bars.timestamps[0]
        odd = compared(bars, self.ledger.bars_from(int(recent)), last)
        new = int(np.searchsorted(bars.timestamps, last, side="right"))
        if self._following is None or self._following.last != last:
            state = self.ledger.state()
            assert state is not None
            self._following = self.desk.resume(state, last)
            self._watch = self._watching(between(bars, 0, new))
            odd.append(Event("started", last, "goes on after this bar"))
        if new == len(bars.timestamps):
            with self.ledger.booking():
                self._unsaid += self.ledger.note(last if now is None else now, odd)
            return []
        return self._book(between(bars, new, len(bars.timestamps)), now, odd)

    def _open(self, bars: Bars, now: int | None, opens: int | None) -> list[Booked]:
        """Follow the history, and open the account at the close of one bar."""
        first = len(bars.timestamps) - 1 if opens is None else int(np.searchsorted(bars.timestamps, opens))
        self._following = self.desk.begin(bars, first)
        self._following.follow(between(bars, 0, first))
        self._watch = self._watching(between(bars, 0, first + 1))
        text = f"a flat account opens at the close of this bar, {moment(self._following.opens)} UTC"
        return self._book(between(bars, first, len(bars.timestamps)), now, [Event("started", None, text)])

    def _watching(self, bars: Bars) -> Watch:
        return Watch.over(bars, self.desk.bar_seconds, self.desk.config.simulation.broker_clock)

    def _book(self, bars: Bars, now: int | None, odd: list[Event]) -> list[Booked]:
        """Trade new bars, and book them in one transaction."""
        try:
            return self._booked(bars, now, odd)
        except BaseException:
            self._following = None  # which may be ahead of the ledger
            raise

    def _booked(self, bars: Bars, now: int | None, odd: list[Event]) -> list[Booked]:
        following, watch = self.following, self._watch
        assert watch is not None
        before, unsaid = self._units(), self._unsaid
        followed, self._unsaid = following.follow(bars), []
        with self.ledger.booking():
            booked = []
            for index, time in enumerate(followed.timestamps.tolist()):
                known = time + self.desk.bar_seconds if now is None else now
                events = odd if index == 0 else []
                events += watch.judge(bars, index, known) if time > int(watch.timestamps[-1]) else []
                outcome, equity, fills = followed.outcome(index), None, {}
                self.ledger.book_bar(time, known, prices_of(bars, index))
                if followed.opened[index]:
                    fills = self._trading(time, outcome, before)
                    equity = float(outcome.row["equity"][0]) * self._capital
                    before = np.asarray(outcome.row["detail"].units[0], np.float64)
                if outcome.terminated:
                    events.append(Event("stopped out", None, _ENDED))
                orders = self._decision(time, known, followed.decision(index))
                booked.append(Booked(time, equity, fills, orders, (*unsaid, *self.ledger.note(known, events))))
                unsaid = []
            assert following.state is not None
            self.ledger.book_state(int(followed.timestamps[-1]), to_named_arrays(following.state))
        return booked

    @property
    def following(self) -> Following:
        """Where the account stands; known once something was traded or read."""
        assert self._following is not None
        return self._following

    @property
    def _capital(self) -> float:
        return self.desk.config.simulation.initial_capital

    @property
    def _lot(self) -> np.ndarray:
        """Units of a lot ``[N]``, per unit of initial capital."""
        assert self._following is not None
        return np.asarray(self._following.market.contracts.contract_size, np.float64) / self._capital

    def _units(self) -> np.ndarray:
        """Units held ``[N]``."""
        assert self._following is not None
        state = self._following.state
        size = self.desk.desk.universe.mask.size
        return np.zeros(size) if state is None else np.asarray(state.progress.state.book.account.units[0], np.float64)

    def _by_symbol(self, lots: np.ndarray) -> dict[str, float]:
        """Lots ``[N]`` that are not zero, without the rounding of float32."""
        rounded = {symbol: round(value, 4) for symbol, value in self.desk.by_symbol(lots).items()}
        return {symbol: value for symbol, value in rounded.items() if value}

    def _trading(self, time: int, outcome: Outcome, before: np.ndarray) -> dict[str, tuple[float, float]]:
        """Book what happened over a bar; returns its fills."""
        row = outcome.row
        traded = self._by_symbol((np.asarray(row["detail"].units[0], np.float64) - before) / self._lot)
        price = self.desk.by_symbol(np.asarray(outcome.open, np.float64) + np.asarray(row["detail"].fill_offset[0]))
        fills = {symbol: (lots, price[symbol]) for symbol, lots in traded.items()}
        record = to_named_arrays(row)
        self.ledger.book_trading(
            time, float(row["equity"][0]), float(row["costs"][0]), float(row["turnover"][0]), record, fills
        )
        return fills

    def _decision(self, time: int, now: int, decision: Decision) -> dict[str, float]:
        """Book a decision; returns its orders."""
        content = {
            "wanted": self.desk.by_symbol(decision.target),
            "permitted": self.desk.by_symbol(decision.permitted),
            "capital": self.desk.capital(decision),
            "risk_appetite": float(decision.allocation.risk_appetite),
            "risk_rules": bound_rules(decision.cuts),
        }
        orders = self._by_symbol(np.asarray(decision.order, np.float64) / self._lot)
        self.ledger.book_decision(time, now, content, orders)
        return orders
