"""A training decides for a broker: the weights of its own account on paper, in lots of the broker's equity."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.deploy import sources
from mtquant_jax.deploy.broker import AccountState, BrokerUnavailable, Position
from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.deploy.history import MT5, desk_of
from mtquant_jax.deploy.ledger import Ledger
from mtquant_jax.deploy.live_model import LiveModel, trained_of
from mtquant_jax.deploy.metatrader import MetaTraderBroker, MetaTraderOptions
from mtquant_jax.deploy.paper import PaperTrader, about
from mtquant_jax.market.bars.selection import first_bars
from mtquant_jax.market.instruments import load_instruments
from tests.deploy.fake_terminal import FakeTerminal, symbol

NOW = 1_709_726_405  # 2024-03-06 12:00:05 UTC, a Wednesday


class Account:
    """The parts of a broker that a model looks at."""

    def __init__(self, equity: float) -> None:
        self.equity = equity

    def account(self) -> AccountState:
        return AccountState(1, "USD", self.equity, self.equity, 0.0, self.equity, is_demo=True, hedging=False)

    def positions(self) -> tuple[Position, ...]:
        return (Position("EURUSD", 0.3, 1.1, 1, 0),)


@pytest.fixture(scope="module")
def desk(run) -> TradingDesk:
    return desk_of(run, MT5)


def model_of(run, desk, path, equity: float, now: int) -> tuple[LiveModel, Ledger]:
    ledger = Ledger(path, about(run, desk), durable=False)
    return LiveModel(run.run_id, PaperTrader(desk, ledger), Account(equity), lambda: now), ledger


def test_lots_are_the_papers_weights_of_the_accounts_equity(run, desk, new_bars, tmp_path):
    bars = first_bars(new_bars, 420)
    now = int(bars.timestamps[-1]) + 3601
    small, ledger = model_of(run, desk, tmp_path / "a", 10_000.0, now - 20 * 3600)
    with ledger:
        small(first_bars(bars, 400))
        with pytest.raises(BrokerUnavailable, match="20 bars that are due have not come"):
            LiveModel(run.run_id, small._trader, Account(1.0), lambda: now)(first_bars(bars, 400))
        small = LiveModel(run.run_id, small._trader, Account(10_000.0), lambda: now)
        found = small(bars)
        again = small(bars)  # after a restart of the broker's side nothing is traded twice
        assert ledger.last == int(bars.timestamps[-1])
    assert found == again and found.bar_time == int(bars.timestamps[-1])
    assert set(found.lots) == set(desk.symbols) and any(found.lots.values())
    large, ledger = model_of(run, desk, tmp_path / "b", 30_000.0, now - 20 * 3600)
    with ledger:
        large(first_bars(bars, 400))
    large, ledger = model_of(run, desk, tmp_path / "b", 30_000.0, now)  # a process that was started again
    with ledger:
        other = large(bars)
    for name, lots in found.lots.items():
        assert other.lots[name] == pytest.approx(3.0 * lots, rel=1e-5)
    assert small.last is not None
    for row in small.last.instruments:
        place = new_bars.symbols.index(row.symbol)
        worth = float(np.asarray(bars.close)[0, -1, place]) * load_instruments()[row.symbol].contract_size
        worth = worth / float(np.asarray(bars.close)[0, -1, place]) if row.symbol == "USDJPY" else worth
        assert found.lots[row.symbol] * worth / 10_000.0 == pytest.approx(row.permitted_weight, rel=1e-4, abs=1e-12)


def terminal() -> FakeTerminal:
    """One that lists what the training trades, at the sizes of its contracts."""
    known, prices = load_instruments(), {"USDJPY": 150.0, "XAUUSD": 2130.0, "WTIUSD": 78.0, "SPX500": 5100.0}
    listed = []
    for name in ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "WTIUSD", "SPX500", "NAS100", "US30"):
        one = known[name]
        listed.append(
            symbol(
                name,
                one.base_currency,
                one.profit_currency,
                prices.get(name, 1.1 if one.is_currency_pair else 18_000.0),
                one.digits,
                trade_contract_size=one.contract_size,
                trade_tick_value=one.contract_size * 10.0**-one.digits / (150.0 if name == "USDJPY" else 1.0),
            )
        )
    return FakeTerminal(NOW, tuple(listed))


def test_the_command_makes_a_dry_run_on_a_terminal(run, tmp_path, monkeypatch, capsys):
    fake = terminal()

    def connected(desk: TradingDesk, magic: int | None = None, names: tuple[str, ...] = ()) -> MetaTraderBroker:
        options = MetaTraderOptions(clock=desk.config.simulation.broker_clock)
        return MetaTraderBroker(options, load_instruments(), fake, fake.now, fake.sleep)

    monkeypatch.setattr(sources, "terminal_of", connected)
    monkeypatch.setattr("mtquant_jax.deploy.live_model.time.time", fake.now)
    monkeypatch.setattr("mtquant_jax.deploy.loop.time.time", fake.now)
    flags = ("--run-dir", str(run.paths.run_dir), "--folder", str(tmp_path / "live"), "--turns", "1")
    code = main(["live", *flags])
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), err
    assert out.startswith("dry run: 10% of the equity")
    assert fake.requests == []  # nothing was sent
    beat = json.loads((tmp_path / "live" / "heartbeat.json").read_text())
    assert beat["state"] in ("dry run", "waiting"), beat
    assert set(beat["wanted"]) == set(trained_of(desk_of(run, MT5)).symbols)
    assert (tmp_path / "live" / "model.sqlite").is_file()


def test_without_a_terminal_the_command_says_so(run, tmp_path, capsys):
    assert main(["live", "--run-dir", str(run.paths.run_dir), "--folder", str(tmp_path)]) == 2
    assert "MetaTrader5" in capsys.readouterr().err
