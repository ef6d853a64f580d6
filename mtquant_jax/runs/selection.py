"""Runs of a registry, chosen, ordered and grouped by their settings and results."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.runs.registry import Entry, Figure
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import SPECIALISTS, keys_of, setting_of
from mtquant_jax.settings.fields import fields_of
from mtquant_jax.settings.yaml_text import read_scalar
from mtquant_jax.storage.records import JsonRecord

_ALL = f"{SPECIALISTS}.*."
_SHOWN_ELSEWHERE = ("run_dir", "seed", "phases", "keep", "trials")
"""Settings that are no difference of two runs: they have a column of their own, or decide nothing that is learnt."""

_OWN: Mapping[str, Callable[[Entry], Any]] = {
    "state": lambda entry: entry.state,
    "kind": lambda entry: entry.kind,
    "phases": lambda entry: phases_text(entry),
    "tag": lambda entry: entry.tags or (),
    "market": lambda entry: (entry.market or "", (entry.info.market if entry.info else None) or ""),
}
"""What a run is chosen by besides its settings; of several values one has to fit."""

_SORTED_BY: Mapping[str, Callable[[Entry], Any]] = {
    "run": lambda entry: str(entry.path),
    "started": lambda entry: entry.info.started if entry.info else None,
    "state": lambda entry: entry.state,
    "kind": lambda entry: entry.kind,
    "phases": lambda entry: phases_text(entry) or None,
    "validation": lambda entry: entry.validation.value if entry.validation else None,
    "test": lambda entry: entry.test.value if entry.test else None,
    "time": lambda entry: entry.info.seconds if entry.info else None,
    "tags": lambda entry: ", ".join(entry.tags or ()) or None,
    "market": lambda entry: entry.market,
}
BEST_FIRST = ("validation", "test")


def phases_text(entry: Entry) -> str:
    """The phases of a run as `--phases` takes them."""
    return ",".join(map(str, entry.info.phases)) if entry.info else ""


def chosen(entries: Sequence[Entry], where: Sequence[str]) -> list[Entry]:
    """Those that fit every condition.

    Args:
        entries: of a registry.
        where: ``KEY=VALUE`` texts, or ``KEY=VALUE,VALUE`` of which one has to fit. A key is a setting, ``state``,
            ``kind``, ``tag`` or ``market``: a fingerprint's start, or part of the description.

    Raises:
        UserError: one is no such text, or names an unknown setting.
    """
    every = entries
    for text in where:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise UserError(f"`where` {text}: write a setting and its value, such as ppo.gamma=0.95 or state=finished")
        fits = _condition(every, key, value, f"`where` {text}")
        entries = [entry for entry in entries if fits(entry)]
    return list(entries)


def ordered(entries: Sequence[Entry], key: str, reverse: bool = False) -> list[Entry]:
    """Sorted by a column or a setting, best first where it is a figure; those without a value come last.

    Raises:
        UserError: there is no such column or setting.
    """
    value_of = _SORTED_BY.get(key) or _setting_value(entries, key, "`sort`")
    values = {id(entry): value_of(entry) for entry in entries}
    known = [entry for entry in entries if values[id(entry)] is not None]
    known.sort(key=lambda entry: _comparable(values[id(entry)]), reverse=reverse != (key in BEST_FIRST))
    return known + [entry for entry in entries if values[id(entry)] is None]


def differing(entries: Iterable[Entry]) -> list[str]:
    """Dotted settings in which runs differ; ``specialists.*.KEY`` where all classes have the same in every run."""
    known = [entry for entry in entries if entry.settings]
    found: dict[str, None] = {}
    for key in dict.fromkeys(key for entry in known for key in entry.settings):
        first = known[0].settings.get(key)
        if key not in _SHOWN_ELSEWHERE and any(entry.settings.get(key) != first for entry in known):
            together = f"{_ALL}{key.split('.', 2)[2]}" if key.startswith(f"{SPECIALISTS}.") else key
            same = together == key or all(_are_equal(_values(entry, together)) for entry in known)
            found[together if same else key] = None
    return list(found)


def value_of(entry: Entry, key: str) -> Any:
    """The value of a setting, or of ``specialists.*.KEY`` those that the classes have; None where it has none."""
    if not key.startswith(_ALL):
        return entry.settings.get(key)
    values = _values(entry, key)
    return values[0] if values and _are_equal(values) else values or None


def is_of_all_classes(entry: Entry, key: str) -> bool:
    """Whether a setting is one of a class, and all classes of the run have the same."""
    return key.startswith(f"{SPECIALISTS}.") and _are_equal(_values(entry, f"{_ALL}{key.split('.', 2)[2]}"))


@dataclasses.dataclass(frozen=True)
class Mean(JsonRecord):
    """The mean of a figure over seeds; runs of the same seed count as one, by their mean."""

    value: float
    error: float | None  # standard error over the seeds; None of one
    seeds: int


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """Runs that have something in common."""

    values: Mapping[str, Any]  # by the name that they are grouped by
    entries: tuple[Entry, ...]

    @property
    def validation(self) -> Mean | None:
        """Of the last phase; None where no run has come so far."""
        return mean((entry.settings.get("seed"), entry.validation) for entry in self.entries)

    @property
    def test(self) -> Mean | None:
        """None where no run was evaluated."""
        return mean((entry.settings.get("seed"), entry.test) for entry in self.entries)

    @property
    def also_differ(self) -> list[str]:
        """In what else its runs differ, so that the mean is over that, too."""
        found = [key for key in differing(self.entries) if key not in self.values]
        last = {entry.last_phase for entry in self.entries if entry.last_phase}
        return [*found, *["last phase"] * (len(last) > 1), *["market"] * differ_in_market(self.entries)]


def grouped(entries: Sequence[Entry], keys: Sequence[str]) -> list[RunGroup]:
    """Trainings by the values of settings or columns, the best validation first; sweeps and the like are left out.

    Raises:
        UserError: there is no such column or setting.
    """
    values_of_key = {key: _SORTED_BY.get(key) or _setting_value(entries, key, "`group_by`") for key in keys}
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        if entry.info is not None:
            groups.setdefault(tuple(_comparable(of(entry)) for of in values_of_key.values()), []).append(entry)
    found = [
        RunGroup({key: of(members[0]) for key, of in values_of_key.items()}, tuple(members))
        for members in groups.values()
    ]
    return sorted(found, key=lambda group: -group.validation.value if group.validation else math.inf)


def by_settings(entries: Sequence[Entry]) -> list[RunGroup]:
    """Trainings by all of their settings, so that a group is one setting over several seeds, in their order."""
    found = {key: [value_of(entry, key) for entry in entries] for key in differing(entries)}
    found["phases"] = [phases_text(entry) for entry in entries]
    found["market"] = [entry.market if entry.settings.get("data_dir") else "synthetic" for entry in entries]
    found = {key: values for key, values in found.items() if len({_comparable(value) for value in values}) > 1}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, values in enumerate(zip(*found.values(), strict=True) if found else [()] * len(entries)):
        groups.setdefault(tuple(map(_comparable, values)), []).append(place)
    return [
        RunGroup({key: values[places[0]] for key, values in found.items()}, tuple(entries[place] for place in places))
        for places in groups.values()
    ]


def differ_in_market(entries: Sequence[Entry]) -> bool:
    """Whether runs of the same seed were trained on different markets; every seed has its synthetic market."""
    markets: dict[Any, set[str | None]] = {}
    for entry in entries:
        if entry.info is not None:
            seed = None if entry.settings.get("data_dir") else entry.settings.get("seed")
            markets.setdefault(seed, set()).add(entry.market)
    mixed = None in markets and len(markets) > 1
    return mixed or any(len(found) > 1 for found in markets.values())


def mean(found: Iterable[tuple[Any, Figure | None]]) -> Mean | None:
    """The mean of figures by seed; None of none."""
    by_seed: dict[Any, list[float]] = {}
    for seed, one in found:
        if one is not None:
            by_seed.setdefault(seed, []).append(one.value)
    values = [sum(of_seed) / len(of_seed) for of_seed in by_seed.values()]
    if not values:
        return None
    count, average = len(values), sum(values) / len(values)
    spread = math.sqrt(sum((value - average) ** 2 for value in values) / (count - 1)) if count > 1 else None
    return Mean(average, None if spread is None else spread / math.sqrt(count), count)


def _condition(entries: Sequence[Entry], key: str, text: str, source: str) -> Callable[[Entry], bool]:
    """Whether an entry has a value."""
    wanted = [text] if key == "phases" else [text, *text.split(",")]
    if key in _OWN:
        of = _OWN[key]

        def fits(entry: Entry) -> bool:
            found = of(entry)
            own = found if isinstance(found, tuple) else (found,)
            if key == "market":
                return any(own[0].startswith(part) or part in own[1] for part in wanted)
            return any(part in own for part in wanted)

        return fits
    keys = _known_keys(entries, key, source, _OWN)
    values = [_comparable(read_scalar(part)) for part in wanted] + [("text", part) for part in wanted]

    def has(entry: Entry) -> bool:
        found = [entry.settings[one] for one in keys if one in entry.settings]
        return bool(found) and all(_comparable(_as_text(value)) in values for value in found)

    return has


def _as_text(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _setting_value(entries: Sequence[Entry], key: str, source: str) -> Callable[[Entry], Any]:
    """What gives the value of a setting."""
    keys = _known_keys(entries, key, f"{source} {key}", _SORTED_BY)
    wanted = keys[0] if len(keys) == 1 else f"{_ALL}{keys[0].split('.', 2)[2]}"
    return lambda entry: value_of(entry, wanted)


def _known_keys(entries: Sequence[Entry], key: str, source: str, columns: Iterable[str]) -> tuple[str, ...]:
    """The dotted settings that a name means."""
    known = {setting.key: None for setting in fields_of(TrainConfig)}  # of a class called NAME
    for entry in entries:
        known |= dict.fromkeys(entry.settings)
    if any(entry.settings for entry in entries):
        known = {one: None for one in known if not one.startswith(f"{SPECIALISTS}.NAME.")}
    try:
        return keys_of(key, known, source)
    except UserError:
        if _is_setting(key):  # of a class that none of the runs has
            return (key,)
        if any(one.endswith(f".{key}") for one in known):  # of several groups, which the message names
            raise
        short = {one.rpartition(".")[2]: one for one in known}
        close = difflib.get_close_matches(key, [*columns, *known, *short], n=1)
        every = f"give a setting, such as ppo.gamma, or one of {', '.join(columns)}"
        advice = f"did you mean {short.get(close[0], close[0])}?" if close else every
        raise UserError(f"{source}: there is no {key}; {advice}") from None


def _is_setting(key: str) -> bool:
    try:
        setting_of(key)
    except KeyError:
        return False
    return True


def _values(entry: Entry, key: str) -> list[Any]:
    """The values of ``specialists.*.KEY`` class by class, or that of a setting."""
    if not key.startswith(_ALL):
        return [entry.settings.get(key)]
    rest = key.removeprefix(_ALL)
    return [v for k, v in entry.settings.items() if k.startswith(f"{SPECIALISTS}.") and k.split(".", 2)[2] == rest]


def _are_equal(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _comparable(value: Any) -> tuple[str, Any]:
    """A value that can be sorted among others and be a key; true is not 1, and 1 is 1.0."""
    if isinstance(value, bool):
        return "truth", value
    if isinstance(value, (int, float)):
        return "number", float(value)
    if isinstance(value, (list, tuple)):
        return "text", ",".join(map(str, value))
    return ("", "") if value is None else ("text", str(value))
