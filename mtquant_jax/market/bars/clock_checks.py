"""Turns the files of a directory into problems and notices about their clocks: each by itself and against the others.

A file that is on another clock than it is read on trades at prices that others reach hours later: a training on such a
mixture finds an edge that is not there. So the week of each file is compared with that of its market, and the returns
of every two files with each other. Files of `data convert` are left out: their clocks were checked when they were made.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from mtquant_jax.market.bars.bar_file import PRICES, BarFile, format_time
from mtquant_jax.market.bars.clocks import (
    BETWEEN,
    MANY_WEEKS,
    Contradiction,
    Weeks,
    contradiction,
    usual_time,
    weeks_of,
)
from mtquant_jax.market.bars.directory import Member
from mtquant_jax.market.bars.lags import ALWAYS, Lag, find_lags
from mtquant_jax.market.bars.options import ReadingOptions
from mtquant_jax.market.bars.sessions import looks_like_broker_time
from mtquant_jax.market.bars.timeframes import timeframe_name
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.time_zones import Zone, read_zone

_HOUR, _DAY = 3600, 86_400
_HALF = 0.5  # of the returns of two files: years with a lag that hold as many are refused, fewer are reported


@dataclasses.dataclass(frozen=True)
class _Read:
    """A file, the clock it was read on, and what its weeks say about that clock."""

    file: BarFile
    instrument: Instrument
    zone: Zone
    stated: bool  # the stamps themselves state the clock
    assumed: bool  # neither the stamps nor the user name the clock
    declared: bool  # the user names the clock of this symbol
    at_end: bool  # the user says that bars are stamped at their end
    weeks: Weeks
    against: Contradiction | None

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def name(self) -> str:
        return self.file.name


def check_clocks(members: Sequence[Member], options: ReadingOptions) -> tuple[list[str], list[str]]:
    """Compare the clocks of usable files with their markets and with each other.

    Returns:
        problems, for which bars are refused, and notices; sentences that name files, hours and what to do.
    """
    reads = [_read(member.source, member.instrument, options) for member in members if member.file and member.source]
    reads = [one for one in reads if len(one.file.timestamps)]
    checked = [one for one in reads if one.file.tradable is None]
    problems: list[str] = []
    notices: list[str] = []
    named: set[str] = set()
    for culprit, others, lag in _out_of_step(checked):
        strong = not lag.is_of_years or lag.share >= _HALF
        strong &= not all(one.declared for one in (culprit, *others))
        strong &= lag.interval < _DAY or all(_trades_around_the_clock(one.instrument) for one in (culprit, *others))
        (problems if strong else notices).append(_lag_sentence(culprit, others, lag, checked))
        named |= {culprit.name} if strong else set()
    for one in checked:
        if one.against is not None and one.name not in named:
            other = _other_weeks(one, checked)
            strong = one.against.strong and not one.declared and _trades_around_the_clock(one.instrument)
            strong &= not _only_between(one) and (other is not None or not one.assumed)
            (problems if strong else notices).append(_week_sentence(one, other))
        notices += _assumptions(one)
    return problems, notices + [sentence for one in reads for sentence in _without_effect(one, options)]


def _read(file: BarFile, instrument: Instrument, options: ReadingOptions) -> _Read:
    """Gather the evidence of one file."""
    symbol = instrument.symbol
    given = options.zone_of(symbol)
    file = _within(file, options.period)
    zone = read_zone(file.zone.removesuffix(" (in the file)"))
    weeks = weeks_of(file)
    return _Read(
        file=file,
        instrument=instrument,
        zone=zone,
        stated=not file.naive,
        assumed=file.naive and given.is_utc and not given.forced,
        declared=options.is_declared(symbol),
        at_end=options.at_end(symbol),
        weeks=weeks,
        against=contradiction(file, weeks, zone),
    )


def _within(file: BarFile, period: tuple[int, int]) -> BarFile:
    """The bars of a file whose times are in a period, from its first second to before its last."""
    part = slice(*np.searchsorted(file.timestamps, period))
    if part == slice(0, len(file.timestamps)):
        return file
    columns = {name: getattr(file, name)[part] for name in ("timestamps", *PRICES, "volume")}
    columns |= {name: None if (c := getattr(file, name)) is None else c[part] for name in ("spread", "tradable")}
    return dataclasses.replace(file, **columns)


def _trades_around_the_clock(instrument: Instrument) -> bool:
    """Return True for markets whose week is that of New York: currencies, metals, and US oil, gas and indices."""
    of_new_york = instrument.margin_class in ("energy", "indices") and instrument.profit_currency == "USD"
    return instrument.is_currency_pair or instrument.margin_class == "metals" or of_new_york


def _only_between(one: _Read) -> bool:
    """Return True if only those weeks are odd in which London's and New York's clocks differ by an hour less.

    The sessions of oil and indices may follow London's clock.
    """
    odd = one.weeks.contradicts
    return not one.instrument.is_currency_pair and bool(np.all(one.weeks.season[odd] == BETWEEN))


def _out_of_step(reads: Sequence[_Read]) -> Iterator[tuple[_Read, list[_Read], Lag]]:
    """Yield each file that correlates with others at a lag, those others, and the lag of the strongest correlation."""
    lags = find_lags([one.file for one in reads])
    while lags:
        count = collections.Counter(position for lag in lags for position in (lag.early, lag.late))
        odd = max(count, key=lambda position: (reads[position].against is not None, count[position], position))
        found = sorted((lag for lag in lags if odd in (lag.early, lag.late)), key=lambda lag: -abs(lag.correlation))
        found.sort(key=lambda lag: lag.is_of_years)
        others = [lag.early + lag.late - odd for lag in found]
        yield reads[odd], [reads[position] for position in others], found[0]
        lags = [lag for lag in lags if lag not in found]


def _lag_sentence(culprit: _Read, others: Sequence[_Read], lag: Lag, reads: Sequence[_Read]) -> str:
    other = others[0]
    behind = reads[lag.late] is culprit
    bars = lag.seconds // lag.interval
    plural = "s" if bars > 1 else ""
    when = f" in {lag.when}" if lag.when else ""
    more = f", as with {len(others) - 1} other file{'s' if len(others) > 2 else ''}" if len(others) > 1 else ""
    late_or_early = "later" if behind else "earlier"
    sentence = (
        f"{culprit.name} is stamped {_length(lag.seconds)} {late_or_early} than {other.name}: their returns correlate "
        f"at a lag of {bars} {timeframe_name(lag.interval)} bar{plural} ({lag.correlation:.2g}) and not in the same "
        f"bar ({lag.at_zero:.2g}){when}{more}"
    )
    one_bar = bars == 1 and lag.when == ALWAYS
    if culprit.against is not None and not (one_bar and lag.interval > _HOUR):
        return f"{sentence}. {_what_weeks_say(culprit, other)}; {_advice(culprit, alone=True)}"
    if one_bar:
        late = culprit if behind else other
        return (
            f"{sentence}. {late.name} is probably stamped at the end of its bars (as NinjaTrader writes them): give "
            f"`symbol_bar_stamps` {late.symbol}=close; otherwise one of the two is on another clock: name it with "
            f"`symbol_timezones`, as {culprit.symbol}=NewYork+7"
        )
    if lag.is_of_years:
        return f"{sentence}; one clock is wrong in that time: begin after it with `market.start`, or correct the file."
    return (
        f"{sentence}. One of them is on another clock than it is read on: name it with `symbol_timezones`, such as "
        f"{culprit.symbol}=NewYork+7 (or both as they are, if they are right)"
    )


def _week_sentence(one: _Read, other: _Read | None) -> str:
    """What is odd about the weeks of a file, as part of a problem or a notice."""
    against = one.against
    assert against is not None
    if other is None and one.assumed and looks_like_broker_time(one.file) and not against.at_end:
        likely = against.likely or ("NewYork+7",)
        return (
            f"{one.name}: its weeks begin at the same hour in summer and in winter, {against.opened} on its clock, as "
            f"on the clock of a broker and not in UTC; name its zone with `broker_timezone` {' or '.join(likely[:2])}."
        )
    keep = "" if one.declared else f" (`symbol_timezones` {one.symbol}={one.zone.name} if it is right as it is)"
    return f"{_what_weeks_say(one, other)}; {_advice(one, alone=other is not None)}{keep}"


def _what_weeks_say(one: _Read, other: _Read | None) -> str:
    against = one.against
    assert against is not None
    clock = one.zone.name + (", which its stamps state" if one.stated else ", which is assumed" if one.assumed else "")
    odd = one.weeks.contradicts
    when = ""
    if against.count < against.of:
        when = f" from {format_time(against.first)[:10]} to {format_time(against.last)[:10]}"
    sentence = (
        f"{one.name}: {against.count} of its {against.of} weeks{when} open at {against.opened} on the clock it is read "
        f"on ({clock}), which is {usual_time(one.weeks.local[odd])} in New York, where {_market_opens(one.instrument)}"
    )
    if other is None:
        return sentence
    return f"{sentence}; those of {other.name} open at {usual_time(other.weeks.local[other.weeks.clear])} there"


def _market_opens(instrument: Instrument) -> str:
    what = "currencies open" if instrument.is_currency_pair else f"{instrument.symbol} opens"
    return f"{what} on Sunday at {'17:00' if instrument.is_currency_pair else '18:00'}"


def _advice(one: _Read, alone: bool) -> str:
    """What to do about a file whose weeks contradict its clock; ``alone``: while those of another file do not."""
    against = one.against
    assert against is not None
    symbol, likely = one.symbol, against.likely
    if against.at_end and not one.at_end:
        other = f"; or its clock is {likely[0]}: `symbol_timezones` {symbol}={likely[0]}" if likely else ""
        return f"its bars are probably stamped at their end: give `symbol_bar_stamps` {symbol}=close{other}"
    if not likely:
        return f"no clock fits all of its weeks: name one with `symbol_timezones` {symbol}=ZONE, or cut the period"
    way = f"its clock is probably {' or '.join(likely[:2])}: give `symbol_timezones` {symbol}={likely[0]}"
    force = " and `force_broker_timezone`" if one.stated else ""
    return way if alone else f"{way}, or for all files `broker_timezone` {likely[0]}{force}"


def _other_weeks(one: _Read, reads: Sequence[_Read]) -> _Read | None:
    """Find a file whose weeks fit its market and do not fit those of this file."""
    odd = one.weeks.opens[one.weeks.contradicts] // (7 * _DAY)
    for other in reads:
        fits = other.weeks.opens[other.weeks.clear & ~other.weeks.contradicts] // (7 * _DAY)
        if other.against is None and len(np.intersect1d(odd, fits)) >= MANY_WEEKS:
            return other
    return None


def _length(seconds: int) -> str:
    return f"{seconds / 3600:g} h" if seconds % 1800 == 0 else f"{seconds / 60:g} min"


def _assumptions(one: _Read) -> list[str]:
    """Notices about stamps that are read as UTC opens although their format is known for something else."""
    file = one.file
    if not one.assumed:
        return []
    if file.format.startswith("HistData") and not one.at_end:
        return [
            f"{file.name} has the form of HistData files, which are on New York's winter time all year "
            f"(`symbol_timezones` {one.symbol}=Etc/GMT+5), and of NinjaTrader's, which are in UTC and stamped at the "
            f"end of a bar (`symbol_bar_stamps` {one.symbol}=close); its times are taken as bar opens in UTC."
        ]
    if one.against is not None:
        return []
    if file.broker_time:
        return [
            f"{file.name} holds bars of {file.format}; its times are taken as UTC. They are usually on the broker's "
            "clock: name its zone with `broker_timezone` (often NewYork+7)."
        ]
    if looks_like_broker_time(file):
        return [
            f"{file.name}: its weeks begin at the same hour in summer and in winter, as on the clock of a broker and "
            "not in UTC; name its zone with `broker_timezone` (often NewYork+7)."
        ]
    return []


def _without_effect(one: _Read, options: ReadingOptions) -> list[str]:
    """A notice that the broker's zone does not touch a file, as its stamps state their clock."""
    if not one.stated or one.file.tradable is not None or options.zone.is_utc or options.timeframe == "D1":
        return []
    return [
        f"{one.name}: `broker_timezone` {options.zone.name} has no effect on it, because its stamps state their offset "
        "from UTC or count seconds since 1970; `force_broker_timezone` reads them as local times of that zone."
    ]
