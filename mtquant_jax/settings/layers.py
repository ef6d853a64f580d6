"""Flags over YAML over the shipped configuration: the layers that the settings of a command are made of."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro
from tyro.constructors import StructConstructorSpec, StructFieldSpec, StructTypeInfo

from mtquant_jax.errors import UserError
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import merged, nested
from mtquant_jax.settings.fields import Setting, fields_of
from mtquant_jax.settings.flags import FLAGS, parsed
from mtquant_jax.settings.quick_test import QUICK_TEST, QUICK_TEST_SPECIALIST
from mtquant_jax.settings.yaml_files import DEFAULT_CONFIG, apply, as_mapping, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.storage.paths import RunPaths


@dataclasses.dataclass(frozen=True)
class WithSettings:
    """A command that takes all settings of a training; it adds flags of its own."""

    settings: Annotated[TrainConfig, tyro.conf.arg(name="")]
    config: str = DEFAULT_CONFIG
    """YAML file with settings; it need only hold what differs from the shipped one."""


_Command = TypeVar("_Command", bound=WithSettings)


class Base(NamedTuple):
    """The settings that lie under the flags of a command."""

    settings: TrainConfig
    config: str  # what --config is, or would be
    source: str  # the YAML file that was read


@dataclasses.dataclass(frozen=True)
class _Early:
    """The flags that decide which layers lie under the others."""

    config: str
    preset: str
    risk_preset: str
    quick_test: bool
    run_dir: str
    resume: bool


_IN_PYTHON = "load_config"
"""What messages name as the source of overrides: the function that takes them."""


def load_config(argv: Sequence[str]) -> tuple[TrainConfig, str]:
    """The settings of `mtquant-jax train` with these flags, and the YAML file that they come from.

    Raises:
        UserError: a file or a setting is wrong.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, source = load_command(WithSettings, argv, "mtquant-jax train")
    return command.settings, source


def override_config(path: str | Path | None, overrides: Mapping[str, Any]) -> TrainConfig:
    """Resolve and validate settings that are given in Python: overrides over a YAML file over the shipped ones.

    Args:
        path: a YAML file; it need only hold what differs from the shipped configs/agents.yaml, which None stands for.
        overrides: by dotted key, such as ``ppo.gamma``, or in nested mappings. They win over the file, as flags do.
            ``specialists`` replaces all asset classes, ``specialists.NAME`` changes one or adds it.

    Raises:
        UserError: a file or a setting is wrong; an unknown key comes with the nearest one that exists.
    """
    given = nested(overrides)
    apply(TrainConfig(), given, _IN_PYTHON)  # checks them alone, before they decide on layers
    whole = given.pop("specialists", {}) if "specialists" in overrides else None
    source = str(shipped("agents.yaml") if path is None else path)
    config = _layers(source, None, given, whole)
    if "specialists" in given:
        present = as_mapping(config)["specialists"]
        added = {name: QUICK_TEST_SPECIALIST for name in given["specialists"] if name not in present}
        given["specialists"] = merged(present | (added if config.quick_test else {}), given["specialists"])
    config = apply(config, given, _IN_PYTHON)
    validate(config)
    return config


def load_command(
    kind: type[_Command], argv: Sequence[str], prog: str, phases: str | None = None, resumes_run: bool = True
) -> tuple[_Command, str]:
    """A command with settings that are checked, and the YAML file that they come from.

    Args:
        kind: the command's dataclass; its fields are the flags, the text below a field their help.
        argv: the flags.
        prog: name of the program in help and messages.
        phases: what `phases` is when no flag gives it; None leaves it to the YAML file.
        resumes_run: whether `resume` goes on with the run of `run_dir`, whose settings then lie under the flags.

    Raises:
        UserError: a file or a setting is wrong.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    base = base_of(argv, prog, phases, resumes_run)
    command = parsed(kind, argv, prog, kind(settings=base.settings, config=base.config))
    validate(command.settings)
    return command, base.source


def usual_command(kind: type[_Command], prog: str) -> _Command:
    """A command with settings that is given no flags."""
    base = base_of([], prog)
    return kind(settings=base.settings, config=base.config)


def base_of(argv: Sequence[str], prog: str, phases: str | None = None, resumes_run: bool = True) -> Base:
    """What lies under the flags; arguments and errors as those of `load_command`."""
    early = _early_flags(argv, prog)
    resumed = early.get("resume") and resumes_run
    source = early.get("config") or (_settings_of(early.get("run_dir", ".")) if resumed else None)
    if source is None:
        source = DEFAULT_CONFIG if Path(DEFAULT_CONFIG).is_file() else str(shipped("agents.yaml"))
    try:
        settings = _layers(source, phases, early)
    except UserError:
        if not {"-h", "--help"} & set(argv):
            raise
        settings = _layers(str(shipped("agents.yaml")), phases, {"quick_test": early.get("quick_test")})
    return Base(settings, early.get("config", DEFAULT_CONFIG), source)


def _settings_of(run_dir: str) -> str | None:
    """The settings of the training that a directory holds; None where it holds none."""
    path = RunPaths(Path(run_dir)).resolved_config
    return str(path) if path.is_file() else None


def _early_flags(argv: Sequence[str], prog: str) -> dict[str, Any]:
    """Those of `_Early` that are given; the command reads them again with all the rest.

    A flag is given where the outcome does not depend on its default.
    """
    one, two = (
        tyro.cli(_Early, default=default, args=list(argv), prog=prog, add_help=False, return_unknown_args=True)[0]
        for default in (_Early("", "", "", False, "", False), _Early("-", "-", "-", True, "-", True))
    )
    return {name: value for name, value in vars(one).items() if value == getattr(two, name)}


_FIRST = (
    *("run_dir", "data_dir", "symbols", "quick_test", "preset", "seed"),
    *("phase1_timesteps", "phase2_timesteps", "phase3_timesteps", "phases"),
)
"""Settings that help lists first: those that most trainings are given."""


@FLAGS.struct_rule
def _group_of_settings(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A group of settings as tyro would read it anyway, with unit and range of a number behind its help."""
    if info.type.__module__ != TrainConfig.__module__:
        return None
    helps = {setting.key: _with_unit(setting) for setting in fields_of(info.type)}
    hints = typing.get_type_hints(info.type, include_extras=True)
    fields = (
        StructFieldSpec(
            name, _hint(hints[name], getattr(info.default, name)), getattr(info.default, name), helps.get(name)
        )
        for name in dict.fromkeys((*(name for name in _FIRST if name in hints), *hints))
    )
    return StructConstructorSpec(info.type, tuple(fields))


def _hint(hint: Any, default: Any) -> Any:
    """The type of a setting; help calls a default of no text and no entries empty."""
    return Annotated[hint, tyro.conf.arg(help_behavior_hint="(default: empty)")] if default in ("", ()) else hint


def _with_unit(setting: Setting) -> str:
    """The help of a setting, with the unit of a number where it does not name it itself, and its range."""
    parts = [setting.help]
    if setting.type in (int, float) and setting.unit and setting.unit.lower() not in setting.help.lower():
        parts.append(f"Unit: {setting.unit}.")
    if setting.range:
        parts.append(f"{setting.range.in_words().capitalize()}.")
    return " ".join(parts)


_EVERY_SPECIALIST = "every_specialist"
"""Key of a preset for settings of all asset classes, whichever the user's file has."""


def _preset(file: str, setting: str, name: str) -> dict[str, Any]:
    """The settings of a preset, in a file of ``configs/``."""
    path = shipped(file)
    presets = read_yaml(path)
    if name not in presets:
        raise UserError(f"`{setting}` {name}: unknown preset; choose from {', '.join(presets)} ({path})")
    found: dict[str, Any] = presets[name] or {}
    return found


def _changes(mapping: Mapping[str, Any], under: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says that the one under it does not; the block of specialists as a whole."""
    return {
        key: _changes(value, under[key])
        if isinstance(value, Mapping) and isinstance(under.get(key), Mapping) and key != "specialists"
        else value
        for key, value in mapping.items()
        if key not in under or value != under[key]
    }


def _layers(
    source: str, phases: str | None, flags: Mapping[str, Any], specialists: Mapping[str, Any] | None = None
) -> TrainConfig:
    """All layers under the flags: the shipped files, presets, the user's file, the phase of a script, the quick test.

    Presets lie under the user's file, so that a file may change single settings of them. Settings of a preset for every
    specialist lie under those of each class. ``flags`` has those that decide on layers, where they are given;
    ``specialists`` take the place of the file's.
    """
    origin = shipped("agents.yaml")
    base = apply(TrainConfig(), read_yaml(origin), str(origin))
    mapping = read_yaml(Path(source))
    apply(base, mapping, source)  # checks the file alone, before anything is laid over it
    if source in (DEFAULT_CONFIG, str(origin)):  # what it repeats of the shipped one is no choice of the user's
        mapping = _changes(mapping, read_yaml(origin))
    every: dict[str, Any] = {}
    for setting, file in (("preset", "presets.yaml"), ("risk_preset", "risk.yaml")):
        name = flags.get(setting) or getattr(apply(base, mapping, source), setting)
        content = dict(_preset(file, setting, name))
        every |= content.pop(_EVERY_SPECIALIST, {})
        base = apply(base, {setting: name, **({"risk": content} if setting == "risk_preset" else content)}, file)
        if flags.get(setting):
            mapping = {key: value for key, value in mapping.items() if key != setting}
    given = {"phases": phases, "specialists": specialists}
    mapping |= {key: value for key, value in given.items() if value is not None}
    asked = flags.get("quick_test")
    is_quick = apply(base, mapping, source).quick_test if asked is None else asked
    if every and not is_quick:  # a quick test has sizes of its own
        under = {name: merged(of_class, every) for name, of_class in as_mapping(base)["specialists"].items()}
        own = {name: merged(every, of_class) for name, of_class in mapping.get("specialists", {}).items()}
        mapping["specialists"] = own or under
    if is_quick:
        classes = mapping.get("specialists", read_yaml(origin)["specialists"])
        quick = {**QUICK_TEST, "specialists": {name: QUICK_TEST_SPECIALIST for name in classes}}
        whole = {"specialists": classes}
        # Asked for in the file, the preset only fills in what the file leaves open: a run can then be repeated from
        # its resolved configuration. Asked for as a flag, it wins over the file.
        mapping = merged({**mapping, **whole}, quick) if asked else merged(merged(whole, quick), mapping)
    return apply(base, mapping, source)
