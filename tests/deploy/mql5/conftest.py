"""An Expert Advisor of a quick run, its C++ twins, and a terminal to put it on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from mtquant_jax.deploy.desk import TradingDesk, open_desk, symbols_of
from mtquant_jax.deploy.mql5.compiled import has_compiler
from mtquant_jax.deploy.mql5.equality import decide_by_training
from mtquant_jax.deploy.mql5.export import ExpertAdvisor, advisor_of
from mtquant_jax.deploy.mql5.golden import golden_bars
from mtquant_jax.market.instruments import select
from mtquant_jax.market.prepare import instruments_of
from mtquant_jax.runs.trained_run import open_run
from mtquant_jax.time_zones import read_zone
from mtquant_jax.types import Bars
from tests.deploy.mql5.terminal import Terminal

MAGIC = 20260101
SPREAD_POINTS = 10


@pytest.fixture(scope="session")
def compiler() -> None:
    if not has_compiler():
        pytest.skip("there is no g++")


@pytest.fixture(scope="session")
def trading_desk(synthetic_run) -> TradingDesk:
    run = open_run(synthetic_run)
    traded = [symbol for one in run.config.specialists.values() for symbol in one.symbols]
    return open_desk(run.paths.run_dir, run.config, symbols_of(run.config, traded))


@pytest.fixture(scope="session")
def advisor(trading_desk) -> ExpertAdvisor:
    pytest.importorskip("onnx")
    return advisor_of(trading_desk, "test")


@pytest.fixture(scope="session")
def walk(trading_desk) -> Bars:
    """A few hundred bars with holes, each spread a whole number of points."""
    instruments = select(trading_desk.symbols, instruments_of(trading_desk.config))
    bars = golden_bars(instruments, trading_desk.bar_seconds, 420)
    spread = np.broadcast_to([SPREAD_POINTS * one.point for one in instruments], bars.close.shape)
    return dataclasses.replace(bars, spread=spread)


@pytest.fixture(scope="session")
def terminal_library(compiler, advisor, trading_desk, tmp_path_factory) -> Terminal:
    terminal = Terminal(advisor.files, tmp_path_factory.mktemp("terminal"))
    shapes = advisor.traced.shapes
    terminal.policy(decide_by_training(trading_desk, advisor), shapes.num_inputs, shapes.action.size)
    return terminal


@pytest.fixture
def chart(terminal_library, trading_desk, walk) -> Iterator[Chart]:
    found = Chart(terminal_library, trading_desk, walk)
    yield found
    found.terminal.do("advisor_stop")


class Chart:
    """A terminal whose bars are those of a walk, with the Expert Advisor on a demo account of 100,000 dollars."""

    def __init__(self, terminal: Terminal, desk: TradingDesk, walk: Bars) -> None:
        self.terminal, self.desk, self.walk = terminal, desk, walk
        self.instruments = select(desk.symbols, instruments_of(desk.config))
        self.zone = read_zone(desk.config.simulation.broker_clock)
        self.server = self.zone.from_utc(np.asarray(walk.timestamps))
        self.given = 0
        terminal.do("terminal_reset")
        terminal.do("advisor_forget")
        terminal.set(
            InpDryRun=False,
            InpCapitalShare=0.5,
            InpRealLogin=0,
            InpDayLoss=0.05,
            InpEquityLoss=0.25,
            InpClearStop=False,
            InpWarmUpBars=240,
            InpMaxSpread=3.0,
            InpEmergencyStop=0.0,
            InpRetries=3,
            InpSuffix="",
            InpAliases="",
        )
        for one in self.instruments:
            terminal.library.terminal_symbol(*_symbol(one))
        self.account()

    def account(self, equity: float = 100_000.0, real: bool = False, hedging: bool = False) -> None:
        self.terminal.do("terminal_account", float(equity), 2 if real else 0, 2 if hedging else 0)

    def start(self, first: int) -> int:
        """The answer of OnInit, a few seconds after the close of a bar."""
        self.close(first)
        return int(self.terminal.do("advisor_init"))

    def restart(self, first: int | None = None) -> int:
        self.terminal.do("advisor_stop")
        self.terminal.do("advisor_forget")
        if first is not None:
            self.close(first)
        return int(self.terminal.do("advisor_init"))

    def close(self, index: int, seconds: int = 10) -> None:
        """The time a few seconds after the close of a bar; the next one is unfinished."""
        now = int(self.server[index]) + self.desk.bar_seconds + seconds
        ahead = int(self.server[index] - self.walk.timestamps[index])
        self.terminal.do("terminal_clock", now, ahead)
        for row in range(self.given, index + 2):
            for column, one in enumerate(self.instruments):
                if self.walk.tradable[0, row, column]:
                    self._bar(row, column, one)
        self.given = index + 2
        for column, one in enumerate(self.instruments):
            bid = float(self.walk.open[0, index + 1, column])
            self.terminal.do("terminal_quote", one.symbol, bid, bid + SPREAD_POINTS * one.point)

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.terminal.do("advisor_look")

    def step(self, index: int, looks: int = 12) -> None:
        self.close(index)
        self.look(looks)

    def lots(self, magic: int = MAGIC) -> np.ndarray:
        return np.asarray([self.terminal.do("terminal_lots", one.symbol, magic) for one in self.instruments])

    def wanted(self) -> np.ndarray:
        return np.asarray([self.terminal.library.advisor_wanted(i) for i in range(len(self.instruments))])

    def weights(self) -> np.ndarray:
        num = self.desk.desk.universe.mask.size
        return np.asarray([self.terminal.library.advisor_weight(i) for i in range(num)])

    def log(self) -> str:
        return str(self.terminal.do("terminal_log"))

    def sent(self) -> int:
        return int(self.terminal.do("terminal_sent"))

    def table(self, name: str) -> list[SimpleNamespace]:
        """Rows of a journal."""
        text = str(self.terminal.do("terminal_file", f"MTQuant\\test.{MAGIC}.{name}.csv"))
        header, *lines = [line.split(",") for line in text.splitlines()] or [[]]
        return [SimpleNamespace(**dict(zip(header, line, strict=True))) for line in lines]

    def _bar(self, row: int, column: int, one) -> None:
        import ctypes

        prices = [float(getattr(self.walk, n)[0, row, column]) for n in ("open", "high", "low", "close")]
        self.terminal.library.terminal_bar(
            one.symbol.encode(),
            ctypes.c_long(int(self.server[row])),
            *(ctypes.c_double(price) for price in prices),
            ctypes.c_long(int(self.walk.volume[0, row, column])),
            SPREAD_POINTS,
        )


def _symbol(one) -> tuple:
    import ctypes

    numbers = (one.contract_size, one.min_lot, one.lot_step, one.max_lot, one.contract_size * one.point)
    return (
        one.symbol.encode(),
        one.profit_currency.encode(),
        ctypes.c_double(one.point),
        one.digits,
        *map(ctypes.c_double, numbers),
        1,  # fill or kill alone
    )
