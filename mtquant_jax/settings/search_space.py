"""Search spaces over settings: which of them a sweep tries, and the values that each may have."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_origin

from mtquant_jax.errors import UserError
from mtquant_jax.settings.choices import choices_of
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import SPECIALISTS, keys_of, nested, setting_of, values_of, with_values
from mtquant_jax.settings.fields import Setting
from mtquant_jax.settings.yaml_files import apply
from mtquant_jax.settings.yaml_text import read_scalar

Value = bool | int | float | str

_KEYS = ("low", "high", "log", "choices", "when", "traced")
_NOT_SWEPT = {
    "seed": "a sweep trains several seeds of every setting: give `seeds`",
    "phases": "give it to the sweep as a whole",
    "run_dir": "it says where the sweep writes",
    "keep": "a sweep keeps no checkpoints",
    "devices": "give it to the sweep as a whole",
    "trials": "a sweep counts them itself",
    "tracker": "trials are in the study of the sweep",
    "preset": "sweep the settings that it consists of",
    "risk_preset": "sweep single limits, such as risk.gross_limit",
    "quick_test": "give it to the sweep as a whole",
}


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One setting, or the same setting of several classes, and the values that it may have."""

    name: str  # as it was written
    keys: tuple[str, ...]  # dotted; all of them get the same value
    choices: tuple[Value, ...] = ()  # empty for a range
    low: float = math.nan
    high: float = math.nan
    log: bool = False  # whether a range is searched by factors
    integer: bool = False
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()  # earlier dimension -> values under which this one counts

    def counts(self, values: Mapping[str, Value]) -> bool:
        """Whether it has a value beside those of earlier dimensions."""
        return all(values.get(name) in wanted for name, wanted in self.when)

    @property
    def traced(self) -> bool:
        """Whether other values of it compile nothing."""
        return all(setting_of(key).traced for key in self.keys)

    def in_words(self) -> str:
        """Its values, short."""
        if self.choices:
            return ", ".join(written(choice) for choice in self.choices)
        return f"{written(self.low)} to {written(self.high)}{', by factors' if self.log else ''}"


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """What a sweep tries."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, mapping: Mapping[str, Any], config: TrainConfig, source: str) -> SearchSpace:
        """The space that a mapping describes, checked against the settings that all trials share.

        Args:
            mapping: setting -> list of choices, or ``low`` and ``high`` (and ``log``), or ``choices``; with ``when``,
                earlier setting -> value or list of values under which it counts. A setting is a dotted key;
                ``specialists.*.KEY``, or KEY alone where only one group has it or specialists do, is all classes'.
            config: the settings of all trials.
            source: what messages name.

        Raises:
            UserError: an unknown setting, one that cannot be swept, no values, or values that it cannot have.
        """
        if not mapping:
            raise UserError(f"{source}: the search space is empty; give settings and their values")
        found: list[Dimension] = []
        for name, text in mapping.items():
            found.append(_dimension(str(name), text, found, config, source))
        owners: dict[str, str] = {}
        for dimension in found:
            for key in dimension.keys:
                if key in owners:
                    raise UserError(f"{source}: {dimension.name} and {owners[key]} both set {key}; give one of them")
                owners[key] = dimension.name
        return cls(tuple(found))

    @property
    def names(self) -> tuple[str, ...]:
        """Of its dimensions."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def is_grid(self) -> bool:
        """Whether every dimension has choices, so that all combinations can be tried."""
        return all(dimension.choices for dimension in self.dimensions)

    def grid(self) -> list[dict[str, Value]]:
        """Every combination of choices once.

        Raises:
            UserError: a dimension is a range.
        """
        for dimension in self.dimensions:
            if not dimension.choices:
                raise UserError(f"{dimension.name}: a grid needs a list of values, not a range")
        found: dict[tuple[tuple[str, Value], ...], dict[str, Value]] = {}
        for chosen in itertools.product(*(dimension.choices for dimension in self.dimensions)):
            values: dict[str, Value] = {}
            for dimension, value in zip(self.dimensions, chosen, strict=True):
                if dimension.counts(values):
                    values[dimension.name] = value
            found.setdefault(tuple(values.items()), values)
        return list(found.values())

    def settings(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values by dotted key, of every class."""
        return {key: values[d.name] for d in self.dimensions if d.name in values for key in d.keys}

    def to_json(self) -> list[dict[str, Any]]:
        """What two equal spaces have in common."""
        return [dataclasses.asdict(dimension) for dimension in self.dimensions]


def written(value: Value) -> str:
    """A value as a person writes it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parse_grid(entries: Sequence[str]) -> dict[str, list[Any]]:
    """The space of ``KEY=VALUE,VALUE`` texts of a command line; values as YAML reads them.

    Raises:
        UserError: an entry is no such text, or a setting is given twice.
    """
    found: dict[str, list[Any]] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals or not name or not all(part.strip() for part in text.split(",")):
            raise UserError(f"`grid` {entry}: write a setting and its values, such as learning_rate=1e-4,3e-4")
        if name in found:
            raise UserError(f"`grid` {entry}: {name} is given twice; put all of its values into one list")
        found[name] = [read_scalar(part.strip()) for part in text.split(",")]
    return found


def _dimension(name: str, text: Any, before: Sequence[Dimension], config: TrainConfig, source: str) -> Dimension:
    """One entry of a search space."""
    keys = _keys(name, config, source)
    settings = [setting_of(key) for key in keys]
    if isinstance(text, Mapping):
        if unknown := [str(key) for key in text if key not in _KEYS]:
            raise UserError(f"{source}: {name} has an unknown key {unknown[0]}; valid ones are {', '.join(_KEYS)}")
        content = dict(text)
    else:
        content = {"choices": text}
    if content.pop("traced", False) and not all(setting.traced for setting in settings):
        raise UserError(
            f"{source}: {name} is not traced: every value of it compiles programs anew; leave out traced, which "
            "promises that it compiles nothing"
        )
    when = _when(name, content.pop("when", {}), before, source)
    if "choices" in content:
        if len(content) > 1:
            raise UserError(f"{source}: {name} has choices and a range; give one of them")
        dimension = Dimension(name, keys, choices=_choices(name, content["choices"], settings[0], source), when=when)
        tried = dimension.choices
    else:
        dimension = dataclasses.replace(_range(name, content, settings[0], source), keys=keys, when=when)
        tried = tuple(_as(value, dimension.integer) for value in (dimension.low, dimension.high))
    for value in tried:
        if not when:  # otherwise it may only be possible together with another setting
            with_values(config, dict.fromkeys(keys, value), source)
        else:
            apply(config, nested(dict.fromkeys([k for k in keys if not k.startswith(SPECIALISTS)], value)), source)
    return dimension


def _keys(name: str, config: TrainConfig, source: str) -> tuple[str, ...]:
    """The dotted settings that a name means."""
    found = keys_of(name, values_of(config), source)
    if (reason := _NOT_SWEPT.get(found[0])) is not None:
        raise UserError(f"{source}: {name} cannot be swept{'; ' * bool(reason)}{reason}")
    setting = setting_of(found[0])
    if setting.type not in (bool, int, float, str) and get_origin(setting.type) is not Literal:
        raise UserError(f"{source}: {name} is a list, which cannot be swept")
    return found


def _when(name: str, text: Any, before: Sequence[Dimension], source: str) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    """The condition of a dimension."""
    if not isinstance(text, Mapping):
        raise UserError(f"{source}: when of {name} must be an earlier setting of the space and its value")
    earlier = {dimension.name: dimension for dimension in before}
    found = []
    for other, values in text.items():
        if other not in earlier:
            raise UserError(f"{source}: when of {name} names {other}, which is no earlier setting of the space")
        wanted = tuple(values) if isinstance(values, list) else (values,)
        if strange := [value for value in wanted if earlier[other].choices and value not in earlier[other].choices]:
            raise UserError(f"{source}: when of {name}: {strange[0]} is no value of {other}")
        found.append((str(other), wanted))
    return tuple(found)


def _choices(name: str, text: Any, setting: Setting, source: str) -> tuple[Value, ...]:
    if not isinstance(text, list):
        raise UserError(f"{source}: {name} must be a list of values, or have low and high")
    if not text:
        raise UserError(f"{source}: {name} has no values")
    choices = tuple(float(v) if setting.type is float and type(v) is int else v for v in text)
    if twice := next((value for value in choices if choices.count(value) > 1), None):
        raise UserError(f"{source}: {name} has the value {written(twice)} twice")
    return choices


def _range(name: str, text: Mapping[str, Any], setting: Setting, source: str) -> Dimension:
    if get_origin(setting.type) is Literal or setting.type not in (int, float):
        advice = f": {', '.join(map(str, choices_of(setting.type)))}" if get_origin(setting.type) is Literal else ""
        raise UserError(f"{source}: {name} is no number; give a list of values{advice}")
    for key in ("low", "high"):
        value = text.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{source}: {name} needs low and high, which are numbers; {key} is {value}")
        if setting.type is int and float(value) != int(value):
            raise UserError(f"{source}: {name} is a whole number; {key} is {value}")
    low, high, log = float(text["low"]), float(text["high"]), text.get("log", False)
    if not low < high:
        raise UserError(f"{source}: the range of {name} is empty: low is {written(low)} and high {written(high)}")
    if not isinstance(log, bool) or (log and low <= 0.0):
        raise UserError(f"{source}: {name}: log is true or false, and needs a low above 0")
    return Dimension(name, (), low=low, high=high, log=log, integer=setting.type is int)


def _as(value: float, integer: bool) -> int | float:
    return int(value) if integer else value
