"""Turns nested keys and values into settings, strictly: a key or a value's type that does not fit is an error."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from mtquant_jax.errors import UserError
from mtquant_jax.settings.choices import choices_of
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_text import cut, shown, write_sealed_yaml, yaml_text

T = TypeVar("T")

DEFAULT_CONFIG = "configs/agents.yaml"
"""What lies under all settings, if the working directory has it; otherwise the shipped one does."""

_PACKAGE = Path(__file__).resolve().parents[1]

_LARGE = 1000.0
"""Whole numbers from here on may be written as 1e6, which YAML and Python take for numbers with a point; a 1.0 may not:
it looks like a setting that takes fractions."""

_RENAMED = {"learner": "algorithm"}
"""Keys of files written before -> those that took their place, with the same values."""

_MOVED = {  # keys of files written before, which a similar name alone would lead astray
    "simulation.reward": "reward.objective (what a specialist is paid) and portfolio_reward.objective (the portfolio)",
    "simulation.risk_aversion": "reward.risk_aversion and portfolio_reward.risk_aversion",
}


def shipped(name: str) -> Path:
    """Path of a file of ``configs/`` as it came with the program.

    A wheel carries the files inside the package; a checkout or an editable install has them beside it.

    Raises:
        UserError: the program ships no such file.
    """
    for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"configs/{name} does not belong to this installation of mtquant-jax; install it again")


def apply(default: TrainConfig, mapping: Mapping[str, Any], source: str) -> TrainConfig:
    """Replace the settings that `mapping` (from a YAML file) gives; all others keep the value of `default`.

    A ``specialists`` block replaces the whole set of asset classes, so that a class can also be taken away.

    Args:
        default: the settings to start from.
        mapping: nested keys and values as `read_yaml` returns them.
        source: name of the file, for messages.

    Raises:
        UserError: an unknown key (the nearest valid one is named) or a value of the wrong type.
    """
    return _replace(default, mapping, source, "")


def to_yaml(config: TrainConfig) -> str:
    """Write settings as YAML; ``apply(TrainConfig(), <the parsed text>, ...)`` gives the same settings back."""
    return yaml_text(as_mapping(config))


def write_settings(path: Path, config: TrainConfig) -> None:
    """Write settings as YAML, with a checksum as the last line."""
    write_sealed_yaml(path, to_yaml(config))


def as_mapping(config: TrainConfig) -> dict[str, Any]:
    """Settings as nested dicts and lists, as `read_yaml` would return them."""
    mapping: dict[str, Any] = _plain(config)
    return mapping


def _plain(value: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, which is all that YAML knows."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _replace(default: T, mapping: Any, source: str, prefix: str) -> T:
    if not isinstance(mapping, Mapping):
        raise UserError(f"{source}: {prefix.rstrip('.')} must be a group of keys and values, not {shown(mapping)}")
    hints = typing.get_type_hints(type(default))
    changes = {}
    for key, value in mapping.items():
        key = _RENAMED.get(prefix + str(key), key)
        if key not in hints:
            raise UserError(
                f"{source}: unknown key {prefix}{cut(str(key))}; {_nearest(str(key), type(default), prefix)}"
            )
        changes[key] = _value(hints[key], getattr(default, key), value, source, prefix + key)
    return dataclasses.replace(default, **changes)  # type: ignore[type-var]


def _value(hint: Any, default: Any, value: Any, source: str, key: str) -> Any:
    """`value` as the type `hint` asks for, or a `UserError`."""
    if dataclasses.is_dataclass(hint):
        return _replace(default, value, source, f"{key}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{source}: {key} must be a group of keys and values, not {shown(value)}")
        return {
            name: _value(arguments[1], arguments[1](), item, source, f"{key}.{name}") for name, item in value.items()
        }
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{source}: {key} must be a list such as [EURUSD, GBPUSD], not {shown(value)}")
        return tuple(_value(arguments[0], None, item, source, f"{key}[{index}]") for index, item in enumerate(value))
    if origin is Literal:
        choices = choices_of(hint)
        if value in choices and type(value) in {type(choice) for choice in choices}:
            return value
        raise UserError(f"{source}: {key} must be one of {', '.join(map(str, choices))}, not {shown(value)}")
    return _scalar(hint, value, source, key)


def _scalar(hint: type, value: Any, source: str, key: str) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    if hint is int and type(value) is float and value.is_integer() and abs(value) >= _LARGE:
        return int(value)
    wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[hint]
    advice = f'; put it in quotes: "{value}"' if hint is str and type(value) in (int, float) else ""
    raise UserError(f"{source}: {key} must be {wanted}, not {shown(value)}{advice}")


def _nearest(key: str, group: Any, prefix: str) -> str:
    """Advice for an unknown key: its new place, else a similar one beside it, else anywhere, else all that is valid."""
    if prefix + key in _MOVED:
        return f"it is now {_MOVED[prefix + key]}"
    siblings = [field.name for field in dataclasses.fields(group)]
    if close := difflib.get_close_matches(key, siblings, n=1, cutoff=0.6):
        return f"did you mean {prefix}{close[0]}?"
    everywhere = {dotted.rsplit(".", 1)[-1]: dotted for dotted in reversed(_dotted_keys(TrainConfig, ""))}
    if close := difflib.get_close_matches(key, list(everywhere), n=1, cutoff=0.75):
        return f"did you mean {everywhere[close[0]]}?"
    return f"valid keys are {', '.join(prefix + name for name in siblings)}"


def _dotted_keys(group: Any, prefix: str) -> list[str]:
    keys: list[str] = []
    for name, hint in typing.get_type_hints(group).items():
        keys += _dotted_keys(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return keys
