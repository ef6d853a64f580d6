"""Turns settings into a `UserError` where they contradict each other or the arithmetic, before anything is written."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.fields import Setting, fields_of, fits_float32
from mtquant_jax.settings.quick_test import usual

PHASES = ("1", "2", "3")


def validate(config: TrainConfig) -> None:
    """Check settings that types cannot check.

    Raises:
        UserError: the first setting found wrong; one sentence with its name, its value and what would be right.
    """
    _check_ranges(config)
    parse_phases(config.phases)
    _check_specialists(config)
    _check_batch_sizes(config)
    _check_market(config)
    _check_reading(config)
    if config.timeframe != "files" and not config.data_dir:
        raise UserError(
            f"`timeframe` {config.timeframe}: the synthetic market has hourly bars of its own; give `data_dir`"
        )
    if not config.simulation.account_currency.strip():
        raise UserError("`simulation.account_currency` is empty; give a currency such as USD")
    if config.joint_training.individual_weight + config.joint_training.coordination_weight == 0:
        raise UserError(
            "`joint_training.individual_weight` and `joint_training.coordination_weight` are both 0; "
            "with nothing to learn from, phase 3 needs at least one above 0"
        )


def _check_reading(config: TrainConfig) -> None:
    """Whether clocks and stamps of bar files are given as they can be read, for symbols that there are."""
    from mtquant_jax.time_zones import read_zone  # brings NumPy, which the help must not wait for

    read_zone(config.broker_timezone)
    clocks = by_symbol("symbol_timezones", config.symbol_timezones)
    stamps = by_symbol("symbol_bar_stamps", config.symbol_bar_stamps)
    for name in clocks.values():
        read_zone(name, "symbol_timezones")
    for symbol, stamp in stamps.items():
        if stamp not in ("open", "close"):
            raise UserError(f"`symbol_bar_stamps` {symbol}={stamp}: must be {symbol}=open or {symbol}=close")
    symbols = [symbol for specialist in config.specialists.values() for symbol in specialist.symbols]
    for setting, given in (("symbol_timezones", clocks), ("symbol_bar_stamps", stamps)):
        for symbol in given:
            if symbol not in symbols:
                raise UserError(
                    f"`{setting}` {symbol}={given[symbol]}: no class trades {symbol}, only {', '.join(symbols)}"
                )


def by_symbol(setting: str, pairs: Sequence[str]) -> dict[str, str]:
    """Split pairs such as ``EURUSD=NewYork+7`` into values by symbol.

    Raises:
        UserError: a text is no such pair, or a symbol is given twice; the message names the setting.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        symbol, equals, value = (part.strip() for part in pair.partition("="))
        if not (symbol and equals and value):
            example = "NewYork+7" if setting == "symbol_timezones" else "close"
            raise UserError(f'`{setting}` "{pair}": must be a symbol and its value, such as EURUSD={example}')
        if symbol in found:
            raise UserError(f"`{setting}`: {symbol} is given twice")
        found[symbol] = value
    return found


def parse_phases(phases: str) -> tuple[int, ...]:
    """Read a list of phases such as ``1,2,3``.

    Returns:
        the phases in order, as numbers.

    Raises:
        UserError: none, an unknown, a repeated or an out-of-order phase.
    """
    names = [name.strip() for name in phases.split(",")]
    if names == [""]:
        raise UserError("`phases` is empty; choose from 1, 2, 3")
    for name in names:
        if name not in PHASES:
            raise UserError(f'`phases` {phases}: unknown phase "{name}"; choose from 1, 2, 3')
    for before, after in itertools.pairwise(names):
        if before == after:
            raise UserError(f"`phases` {phases}: phase {after} is given twice")
        if before > after:
            raise UserError(f"`phases` {phases}: phase {after} comes before phase {before}; give them in order")
    return tuple(int(name) for name in names)


def _check_ranges(group: Any, prefix: str = "") -> None:
    """Whether all numbers of a group are in their ranges, apart from those of single specialists."""
    for setting in fields_of(type(group)):
        if setting.range is None or ".NAME." in setting.key:
            continue
        key, value = prefix + setting.key, functools.reduce(getattr, setting.key.split("."), group)
        if value in setting.range:
            _check_representable(key, value, setting)
            continue
        if value != value:
            raise UserError(f"`{key}` {value}: is not a number")
        finite = " and finite" if value == setting.range.bounds[1] == float("inf") else ""
        raise UserError(f"`{key}` {value}: must be {setting.range.in_words()}{finite}")


_MOST_STEPS = 2**31 - 1  # counters of compiled programs have 32 bits
_MOST_TIMESTEPS = 10**15


def _check_representable(key: str, value: float, setting: Setting) -> None:
    """Refuse numbers that the arithmetic cannot hold, before they become another number or ask for all memory."""
    if isinstance(value, float):
        if not fits_float32(value):
            raise UserError(f"`{key}` {value:g}: the arithmetic has 32 bits, from 1.2e-38 to 3.4e38")
    elif setting.range is not None and setting.range.bounds[1] == float("inf"):
        most = _MOST_TIMESTEPS if setting.change.kind == "host" else _MOST_STEPS
        if value > most:
            raise UserError(f"`{key}` {value}: must be at most {most}")


def _check_specialists(config: TrainConfig) -> None:
    if not config.specialists:
        raise UserError("specialists: there is no asset class; give at least one, such as forex: {symbols: [EURUSD]}")
    owner: dict[str, str] = {}
    for name, specialist in config.specialists.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise UserError(f'specialists: "{name}" is no name for a class; use letters, digits and _, a letter first')
        if not specialist.symbols:
            raise UserError(f"specialists.{name}.symbols is empty; give at least one instrument")
        for symbol in specialist.symbols:
            if not symbol or re.search(r"[\s/\\]", symbol):
                raise UserError(
                    f'specialists.{name}.symbols: "{symbol}" is no symbol; use one without blanks and slashes'
                )
            if owner.get(symbol) == name:
                raise UserError(f"specialists.{name}.symbols: {symbol} is given twice")
            if symbol in owner:
                raise UserError(f"{symbol} is in two classes, {owner[symbol]} and {name}; each symbol belongs to one")
            owner[symbol] = name
        _check_ranges(specialist, f"specialists.{name}.")


def _check_batch_sizes(config: TrainConfig) -> None:
    if config.pathwise.num_envs * config.pathwise.window > _MOST_STEPS:
        raise UserError(
            f"`pathwise.num_envs` {config.pathwise.num_envs} x `pathwise.window` {config.pathwise.window}: a rollout "
            f"has at most {_MOST_STEPS} steps"
        )
    if all(config.algorithm_of(phase) == "pathwise" for phase in (1, 2, 3)):
        return  # nothing has batches
    sizes = {f"specialists.{name}": specialist.batch_size for name, specialist in config.specialists.items()}
    sizes["meta_controller"] = config.meta_controller.batch_size
    sizes["joint_training"] = config.joint_training.batch_size
    rollout = config.num_envs * config.num_steps
    if rollout > _MOST_STEPS:
        raise UserError(
            f"`num_envs` {config.num_envs} x `num_steps` {config.num_steps}: a rollout has at most {_MOST_STEPS} steps"
        )
    for name, size in sizes.items():
        if size < 1 or rollout % size:
            nearest = " or ".join(str(divisor) for divisor in _nearest_divisors(rollout, size))
            raise UserError(
                f"`{name}.batch_size` {size}: must divide `num_envs` x `num_steps` = "
                f"{config.num_envs} x {config.num_steps} = {rollout}; the nearest is {nearest}"
            )


def _nearest_divisors(number: int, size: int) -> list[int]:
    """The divisors of `number` next to `size`: the greatest below and the least above, where they exist."""
    small = [divisor for divisor in range(1, int(number**0.5) + 1) if number % divisor == 0]
    divisors = sorted({*small, *(number // divisor for divisor in small)})
    return [divisor for divisor in divisors if divisor < size][-1:] + [d for d in divisors if d > size][:1]


def _check_market(config: TrainConfig) -> None:
    market = config.market
    if market.train_fraction + market.validation_fraction >= 1.0:
        raise UserError(
            f"`market.train_fraction` {market.train_fraction} and `market.validation_fraction` "
            f"{market.validation_fraction} leave nothing for the test split; their sum must be below 1"
        )
    if config.data_dir and (market.scenario != "neutral" or market.calibration):
        given = f"`market.scenario` {market.scenario}" if market.scenario != "neutral" else "`market.calibration`"
        raise UserError(f"{given} shapes the synthetic market, and `data_dir` takes its place; give one of the two")
    for name in ("num_paths", "num_bars", "edge"):
        value, normal = getattr(market, name), usual(f"market.{name}", config.quick_test)
        if config.data_dir and value not in (normal, usual(f"market.{name}", quick_test=False)):
            raise UserError(
                f"`market.{name}` {value:g} shapes the synthetic market, and `data_dir` takes its place; leave one out"
            )
    if config.curriculum and config.data_dir:
        raise UserError("`curriculum` draws the scenarios of the synthetic market, and `data_dir` takes its place")
    if config.curriculum and market.scenario != "neutral":
        raise UserError(
            f"`curriculum` draws all scenarios, and `market.scenario` {market.scenario} one; give one of the two"
        )
    start, end = (_parse_date(key, getattr(market, key)) for key in ("start", "end"))
    if start and end and start >= end:
        raise UserError(f"`market.start` {start} must be before `market.end` {end}")


def _parse_date(key: str, text: str) -> date | None:
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # a month 13 is refused below like any other text that is no date
    raise UserError(f'`market.{key}` "{text}": must be a date as YYYY-MM-DD')
