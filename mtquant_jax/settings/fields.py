"""What a setting is, read from its field: type, default, range, unit, help, and what a change of it asks for.

The settings' dataclasses write it once, in `Annotated`; checks, help, documentation and sweeps read it here.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
import typing
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a setting may be, written as in mathematics: ``(0, 1]`` excludes 0 and includes 1."""

    text: str

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper bound."""
        low, high = self.text[1:-1].split(",")
        return float(low), float(high)

    def __contains__(self, value: float) -> bool:
        low, high = self.bounds
        above = value > low or (self.text[0] == "[" and value == low)
        return above and (value < high or (self.text[-1] == "]" and value == high))

    def in_words(self) -> str:
        """``(0, 1]`` as "above 0 and at most 1"; an infinite bound is left out."""
        low, high = self.bounds
        lower = f"{'at least' if self.text[0] == '[' else 'above'} {low:.10g}"
        upper = f"{'at most' if self.text[-1] == ']' else 'below'} {high:.10g}"
        return lower if high == float("inf") else f"{lower} and {upper}"


def fits_float32(value: float) -> bool:
    """Whether a number stays finite, and other than zero, in the arithmetic of the compiled programs."""
    return value == 0.0 or 1.2e-38 < abs(value) < 3.4e38


@dataclasses.dataclass(frozen=True)
class Unit:
    """What a setting is measured in."""

    name: str


@dataclasses.dataclass(frozen=True)
class Change:
    """What a new value of a setting asks for."""

    kind: Literal["traced", "static", "data", "host"]
    compiles: str = ""  # the phases (1, 2, 3) and the preparation of the market (m) that compile, as in "1 3 m"


Traced = Change("traced")
"""An argument of the compiled programs: nothing compiles, the market stays, and `jax.vmap` can take many values."""

Host = Change("host")
"""Read outside the compiled programs, such as a folder or a number of timesteps: nothing compiles."""


def Static(compiles: str) -> Change:
    """A part of the compiled programs themselves, such as a size or an objective: they compile again."""
    return Change("static", compiles)


def Data(compiles: str = "") -> Change:
    """A property of the market, which is prepared again; programs compile where its shapes change."""
    return Change("data", compiles)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting, as its field describes it."""

    key: str  # dotted; in specialists.NAME.symbols, NAME is that of any class
    type: Any  # bool, int, float, str, tuple[str, ...] or a Literal
    default: Any
    range: Range | None  # None where no number is meant
    unit: str  # empty where it has none
    change: Change
    help: str  # one or two sentences

    @property
    def traced(self) -> bool:
        """Whether compiled programs take it as an argument, so that many values can run at once."""
        return self.change.kind == "traced"


def fields_of(group: type) -> list[Setting]:
    """The settings of a dataclass, and of those inside it, in the order in which they are written.

    Raises:
        TypeError: a field does not say what a change of it asks for.
    """
    found: list[Setting] = []
    hints, helps = typing.get_type_hints(group, include_extras=True), _docstrings(group)
    for field in dataclasses.fields(group):
        kind, notes = hints[field.name], []
        if typing.get_origin(kind) is Annotated:
            kind, *notes = typing.get_args(kind)
        several = typing.get_origin(kind) is dict
        inner = typing.get_args(kind)[1] if several else kind
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            prefix = f"{field.name}.NAME." if several else f"{field.name}."
            found += [dataclasses.replace(setting, key=prefix + setting.key) for setting in fields_of(inner)]
            continue
        change = _only(Change, notes)
        if change is None:
            raise TypeError(f"{group.__name__}.{field.name} must say Traced, Static, Data or Host")
        unit, limits = _only(Unit, notes), _only(Range, notes)
        name = unit.name if unit else ""
        found.append(Setting(field.name, kind, field.default, limits, name, change, helps[field.name]))
    return found


def _only(kind: type[T], notes: list[Any]) -> T | None:
    """The note of a kind among those of a field."""
    return next((note for note in notes if isinstance(note, kind)), None)


def _docstrings(group: type) -> dict[str, str]:
    """Field -> the text below it, on one line; also of the fields that a dataclass inherits."""
    found: dict[str, str] = {}
    for base in reversed(group.__mro__[:-1]):
        found |= _texts_of_module(base.__module__)[base.__name__]
    return found


@functools.cache
def _texts_of_module(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> the string literal that follows it."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    found: dict[str, dict[str, str]] = {}
    for definition in tree.body:
        if isinstance(definition, ast.ClassDef):
            found[definition.name] = {
                ast.unparse(field.target): " ".join(str(ast.literal_eval(text.value)).split())
                for field, text in itertools.pairwise(definition.body)
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
            }
    return found
