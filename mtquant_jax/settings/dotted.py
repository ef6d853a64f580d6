"""Settings by dotted key, such as ``ppo.gamma`` or ``specialists.forex.learning_rate``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.fields import Setting, fields_of
from mtquant_jax.settings.yaml_files import apply, as_mapping

SPECIALISTS = "specialists"


def values_of(config: TrainConfig) -> dict[str, Any]:
    """Every setting by dotted key; sequences as lists."""
    return flat(as_mapping(config))


def flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Nested groups of settings as their leaves by dotted key."""
    return dict(_flat(mapping, ""))


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Dotted keys of the settings in which two configurations differ."""
    here, there = values_of(one), values_of(other)
    return [key for key in here | there if key not in here or key not in there or here[key] != there[key]]


def keys_of(name: str, known: Iterable[str], source: str) -> tuple[str, ...]:
    """The dotted settings that a name means.

    Args:
        name: a dotted key; ``specialists.*.KEY``, or KEY alone where only one group has it or specialists do, is that
            of all classes.
        known: keys of the settings that there are.
        source: what messages name as the place of the name.

    Raises:
        UserError: there is none; the nearest one is named.
    """
    known = list(known)
    wanted = name
    if "." not in name and name not in known:
        owners = sorted({key.rpartition(".")[0].partition(".")[0] for key in known if key.endswith(f".{name}")})
        if SPECIALISTS in owners:
            wanted = f"{SPECIALISTS}.*.{name}"
        elif len(owners) == 1:
            wanted = next(key for key in known if key.endswith(f".{name}"))
        elif owners:
            usual = "ppo" if "ppo" in owners else owners[0]
            raise UserError(f"{source}: {name} is a setting of {', '.join(owners)}; write {usual}.{name}, say")
    if wanted.startswith(f"{SPECIALISTS}.*."):
        rest = wanted.split(".", 2)[2]
        found = [key for key in known if key.startswith(f"{SPECIALISTS}.") and key.split(".", 2)[2] == rest]
    else:
        found = [wanted] if wanted in known else []
    if not found:
        probe = wanted.replace(".*.", ".NAME.")
        apply(TrainConfig(), nested({probe: None}), source)  # raises, and names the nearest one
        raise UserError(f"{source}: {name} is no single setting")
    return tuple(found)


def setting_of(key: str) -> Setting:
    """What a setting is.

    Raises:
        KeyError: there is no such setting.
    """
    head, _, rest = key.partition(".")
    if head == SPECIALISTS and "." in rest:
        key = f"{SPECIALISTS}.NAME.{rest.partition('.')[2]}"
    return _settings()[key]


def with_values(config: TrainConfig, values: Mapping[str, Any], source: str) -> TrainConfig:
    """The configuration with other values, checked.

    Args:
        config: with all that stays.
        values: by dotted key; those of ``specialists.NAME`` are of a class that the configuration has.
        source: what messages name as the place of the values.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of its range.
    """
    changed = apply(TrainConfig(), merged(as_mapping(config), nested(values)), source)
    validate(changed)
    return changed


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by dotted key as nested mappings of plain values: paths become text, NumPy's numbers Python's."""
    found: dict[str, Any] = {}
    for key, value in overrides.items():
        plain: Any = nested(value) if isinstance(value, Mapping) else value
        plain = plain.item() if hasattr(plain, "item") else str(plain) if isinstance(plain, Path) else plain
        for name in reversed(key.split(".")):
            plain = {name: plain}
        found = merged(found, plain)
    return found


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other."""
    both = {
        key: merged(under[key], value) if isinstance(value, Mapping) and isinstance(under.get(key), Mapping) else value
        for key, value in over.items()
    }
    return {**under, **both}


@functools.cache
def _settings() -> dict[str, Setting]:
    return {setting.key: setting for setting in fields_of(TrainConfig)}


def _flat(group: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """The leaves of nested groups with their dotted keys."""
    found: list[tuple[str, Any]] = []
    for name, value in group.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found
