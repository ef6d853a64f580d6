"""The flags that `data check` and `data convert` share: those settings of a training that say how bars are read."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TypeVar

import tyro

from mtquant_jax.errors import with_flags
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import READING, BarStamps, Timeframe, TrainConfig, ZeroSpread
from mtquant_jax.settings.flags import parsed
from mtquant_jax.settings.layers import Base, base_of

_SETTINGS = ("data_dir", "symbols", "instruments", "timeframe", *READING)


@dataclasses.dataclass(frozen=True)
class PeriodFlags:
    """The wanted period."""

    start: str
    """First bar used, UTC, as YYYY-MM-DD; empty: as early as all instruments allow."""
    end: str
    """Bars before this date are used, UTC, as YYYY-MM-DD; empty: as late as all instruments allow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingFlags:
    """On which clocks bars are read, and what a spread of zero means."""

    broker_timezone: str
    """Clock of files whose stamps have no offset: an IANA zone, or NewYork+7."""
    force_broker_timezone: bool
    """Read stamps with an offset, and seconds since 1970, as local times of that zone, too."""
    symbol_timezones: tuple[str, ...]
    """Clocks of single symbols, as EURUSD=NewYork+7, also where their stamps have an offset."""
    bar_stamps: BarStamps
    """Whether stamps are the open of a bar or, as NinjaTrader writes them, its close."""
    symbol_bar_stamps: tuple[str, ...]
    """The same for single symbols, as EURUSD=close."""
    zero_spread: ZeroSpread
    """Spread of bars for which a file has zero: the median of its others, the instrument's default, or keep."""
    allow_jumps: bool
    """Take steps of a factor two or more between bars for real."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarFlags(ReadingFlags):
    """Where bars are and how they are read."""

    data_dir: str
    """Directory of bar files, one per symbol."""
    config: str
    """YAML file with settings; its specialists say which symbols are needed."""
    symbols: tuple[str, ...]
    """Instruments to look at, each in the class of its kind; empty: those of the specialists."""
    instruments: str
    """YAML of contract specifications laid over the shipped ones."""
    timeframe: Timeframe
    """Bars to make of those of the files."""
    market: PeriodFlags


_Command = TypeVar("_Command", bound=BarFlags)


def load(kind: type[_Command], arguments: Sequence[str], prog: str) -> tuple[_Command, TrainConfig]:
    """A command with these flags, and the settings of a training on the same bars.

    Raises:
        UserError: a file or a setting is wrong.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    base = base_of(arguments, prog)
    command = parsed(kind, arguments, prog, _with_base(kind, base))
    market = dataclasses.replace(base.settings.market, start=command.market.start, end=command.market.end)
    config = dataclasses.replace(base.settings, market=market, **{name: getattr(command, name) for name in _SETTINGS})
    validate(config)
    from mtquant_jax.market.traded import with_symbols  # brings JAX, which the help must not wait for

    return command, with_symbols(config)


def usual_command(kind: type[_Command], prog: str) -> _Command:
    """A command with these flags that is given none."""
    return _with_base(kind, base_of([], prog))


def _with_base(kind: type[_Command], base: Base) -> _Command:
    """A command whose flags have the values of settings; those that no setting gives are missing."""
    defaults = {field.name: tyro.MISSING for field in dataclasses.fields(kind)}
    defaults |= {name: getattr(base.settings, name) for name in _SETTINGS if name != "data_dir"}
    defaults["market"] = PeriodFlags(base.settings.market.start, base.settings.market.end)
    return kind(**defaults | {"config": base.config})


def symbols_of(config: TrainConfig) -> tuple[list[str], tuple[str, ...]]:
    """The instruments of all classes, in the order of the settings, and those for conversion alone."""
    from mtquant_jax.market.prepare import conversion_of, instruments_of

    traded = [symbol for specialist in config.specialists.values() for symbol in specialist.symbols]
    return traded, conversion_of(config, traded, instruments_of(config))


def terminal_width() -> int | None:
    """Characters in a line of the terminal that standard output is; None where it is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitting(text: str) -> str:
    """Lines as a terminal takes them: longer ones are broken between words and indented."""
    if (width := terminal_width()) is None:
        return text
    pieces = (
        textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
    return "\n".join(line for of_line in pieces for line in of_line)


def print_list(title: str, sentences: Sequence[str]) -> None:
    """Print a title and a bullet per sentence, or nothing where there is none; settings are shown as flags."""
    if sentences:
        print(f"{title}\n")
        for sentence in sentences:
            print(fitting(f"- {with_flags(' '.join(sentence.split()))}"))
        print()
