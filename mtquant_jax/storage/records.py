"""Results as frozen dataclasses <-> the JSON objects of result files, and rows of tables.

A field is a key of the same name. A field whose default is None is left out of the file where it is None. A field of
type ``Merged[Part]`` has no key of its own: the part's fields stand among those of its owner, and later ones win.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from mtquant_jax.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

_MERGED = "merged"
Merged = Annotated[T, _MERGED]
"""Type of a field whose dataclass has no key of its own."""

_NAMES = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


class JsonRecord:
    """A frozen dataclass that is written to and read from a result file."""

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the file, with its keys in their order."""
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any, where: str) -> typing.Self:
        """Read what `to_json` gives; keys that are no field are ignored.

        Args:
            content: the JSON object.
            where: names it in messages, such as a file.

        Raises:
            UserError: a field is missing or of a wrong type.
        """
        return from_json(cls, content, where)


def to_json(value: Any) -> Any:
    """A dataclass as a dictionary, also inside of lists and mappings; anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        content: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if _is_merged(type(value), field.name):
                content |= to_json(item)
            elif item is not None or field.default is not None:
                content[field.name] = to_json(item)
        return content
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: type[T], content: Any, where: str) -> T:
    """A dataclass of a JSON object.

    Null is not-a-number where a field is a number, because files hold numbers that are not finite as null.

    Args:
        kind: the dataclass, whose annotations say what is expected.
        content: what the file holds.
        where: names it in messages, such as a file.

    Raises:
        UserError: a field is missing or of a wrong type.
    """
    found: T = _read(kind, content, where, "")
    return found


def flat_row(record: Any) -> dict[str, Any]:
    """A dataclass as one row of a table: nested fields and list entries under paths such as ``risk_bound/var``."""
    row: dict[str, Any] = {}
    _flatten(to_json(record), "", row)
    return row


def frame(rows: Mapping[str, Any]) -> pd.DataFrame:
    """Dataclasses by name as the rows of a table, with columns as in `flat_row`."""
    import pandas as pd

    return pd.DataFrame([flat_row(record) for record in rows.values()], index=list(rows))


def _flatten(value: Any, path: str, row: dict[str, Any]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        row[path] = value
        return
    for key, item in items:
        _flatten(item, f"{path}/{key}" if path else str(key), row)


def _read(kind: Any, value: Any, where: str, path: str) -> Any:
    """``value`` as ``kind``; ``path`` leads to it from the top of ``where``."""
    origin, arguments = _form(kind)
    if origin is Annotated:
        return _read(arguments[0], value, where, path)
    if kind is Any:
        return value
    if origin is typing.Literal:
        if value not in arguments:
            raise UserError(f"{where}: {path} is {value!r:.60}, which is none of {', '.join(map(str, arguments))}")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _read(kind, value, where, path)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, _checked(value, dict, "an object", where, path), where, path)
    if origin in (list, tuple):
        items = _checked(value, list, "a list", where, path)
        fixed = origin is tuple and arguments[-1] is not Ellipsis
        if fixed and len(items) != len(arguments):
            raise UserError(f"{where}: {path} has {len(items)} entries where {len(arguments)} are expected")
        kinds = arguments if fixed else arguments[:1] * len(items)
        read = [_read(k, item, where, f"{path}[{i}]") for i, (k, item) in enumerate(zip(kinds, items, strict=True))]
        return tuple(read) if origin is tuple else read
    if origin is not None:  # a mapping of names
        items = _checked(value, dict, "an object", where, path)
        return {key: _read(arguments[1], item, where, f"{path}.{key}" if path else key) for key, item in items.items()}
    return _read_scalar(kind, value, where, path)


def _read_dataclass(kind: Any, content: dict[str, Any], where: str, path: str) -> Any:
    hints, values = _hints(kind), {}
    for field in dataclasses.fields(kind):
        place = f"{path}.{field.name}" if path else field.name
        if _is_merged(kind, field.name):
            values[field.name] = _read(hints[field.name], content, where, path)
        elif field.name in content:
            values[field.name] = _read(hints[field.name], content[field.name], where, place)
        elif field.default is not None:
            raise UserError(f"{where} has no {place}")
    return kind(**values)


def _read_scalar(kind: type, value: Any, where: str, path: str) -> Any:
    if kind is float and value is None:
        return float("nan")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, bool):
        return _checked(value, type(None), _NAMES[int], where, path)
    return _checked(value, kind, _NAMES[kind], where, path)


def _checked(value: Any, kind: type, what: str, where: str, path: str) -> Any:
    if not isinstance(value, kind):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise UserError(f"{where}: {path or 'its content'} is {shown}, which is not {what}")
    return value


@functools.cache
def _form(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _is_merged(kind: Any, name: str) -> bool:
    return _MERGED in getattr(_hints(kind)[name], "__metadata__", ())
