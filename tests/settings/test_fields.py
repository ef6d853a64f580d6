"""What a field says of its setting: that it is all there, and that what is called traced, static and data is."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import jax
import numpy as np
import pytest

from mtquant_jax.agents.networks import MetaNetwork, SpecialistNetwork, register_network
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.choices import choices_of
from mtquant_jax.settings.config import SpecialistConfig, TrainConfig
from mtquant_jax.settings.fields import Change, Data, Host, Range, Setting, Static, Traced, Unit, fields_of
from mtquant_jax.settings.layers import load_config
from mtquant_jax.training import phases
from tests.registries import restored

SETTINGS = {setting.key: setting for setting in fields_of(TrainConfig)}
PHASES = ("1", "2", "3")


@dataclasses.dataclass(frozen=True)
class Inner:
    size: Annotated[int, Range("[1, inf)"), Unit("bars"), Static("1 3")] = 4
    """A size that
    goes on in a second line."""


@dataclasses.dataclass(frozen=True)
class Heir(Inner):
    size: Annotated[int, Range("[2, inf)"), Data()] = 5
    """Another size."""
    rate: Annotated[float, Range("(0, 1]"), Traced] = 0.5
    """A rate."""


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    heirs: dict[str, Heir] = dataclasses.field(default_factory=dict)
    folder: Annotated[str, Host] = "."
    """A folder."""


def test_a_setting_is_read_from_its_field() -> None:
    bars, many = Range("[1, inf)"), Range("[2, inf)")
    assert fields_of(Outer) == [
        Setting("inner.size", int, 4, bars, "bars", Change("static", "1 3"), "A size that goes on in a second line."),
        Setting("heirs.NAME.size", int, 5, many, "", Change("data", ""), "Another size."),
        Setting("heirs.NAME.rate", float, 0.5, Range("(0, 1]"), "", Change("traced", ""), "A rate."),
        Setting("folder", str, ".", None, "", Change("host", ""), "A folder."),
    ]
    assert [setting.traced for setting in fields_of(Outer)] == [False, False, True, False]


@dataclasses.dataclass(frozen=True)
class Silent:
    size: Annotated[int, Range("[1, inf)")] = 4
    """A size."""


def test_a_field_must_say_what_a_change_asks_for() -> None:
    with pytest.raises(TypeError, match=r"Silent\.size must say Traced, Static, Data or Host"):
        fields_of(Silent)


@pytest.mark.parametrize(
    ("text", "inside", "outside", "words"),
    [
        ("[1, inf)", [1, 1e9], [0, -1, math.inf, math.nan], "at least 1"),
        ("(0, 1]", [1e-9, 1], [0, 1.1, math.nan], "above 0 and at most 1"),
        ("(-20, 3)", [-19.9, 0, 2.9], [-20, 3], "above -20 and below 3"),
        ("[0, 4294967295]", [0, 4294967295], [-1, 4294967296], "at least 0 and at most 4294967295"),
    ],
)
def test_a_range_excludes_what_it_says(text: str, inside: list[float], outside: list[float], words: str) -> None:
    assert all(value in Range(text) for value in inside)
    assert not any(value in Range(text) for value in outside)
    assert Range(text).in_words() == words


def test_every_number_has_a_range_and_every_setting_a_sentence() -> None:
    sizes = {key for key in SETTINGS if key.endswith("batch_size")}  # divisors of a rollout, which no interval says
    for key, setting in SETTINGS.items():
        assert (setting.range is not None) == (setting.type in (int, float) and key not in sizes), key
        assert setting.range is None or setting.default in setting.range
        assert setting.help.endswith(".") and len(setting.help) > 8, key


def test_every_field_of_every_group_is_a_setting() -> None:
    def keys(group: type, prefix: str = "") -> list[str]:
        found: list[str] = []
        for name, hint in typing.get_type_hints(group).items():
            inner = SpecialistConfig if name == "specialists" else hint
            name = "specialists.NAME" if name == "specialists" else name
            found += keys(inner, f"{prefix}{name}.") if dataclasses.is_dataclass(inner) else [prefix + name]
        return found

    assert sorted(SETTINGS) == sorted(keys(TrainConfig))


# What the programs are given. Nothing is compiled here: plans are compared, as `jax.jit` compares them.

CONFIG = load_config(
    ["--quick-test", "--market.num-paths", "2", "--market.num-bars", "2500", "--anchor", "equal_weight"]
)[0]


Planning = Callable[[TrainConfig], dict[str, phases.Plan]]


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Second choices of settings that have only one in the package."""
    with restored():
        register_network("other", type("OtherNetwork", (SpecialistNetwork,), {}), type("OtherMeta", (MetaNetwork,), {}))
        yield


@pytest.fixture(scope="module")
def planned() -> Planning:
    """Settings -> what each phase would run on one market, from the same untrained policies of the phases before."""
    market = prepare_market(CONFIG)
    specialists = [phases.start_specialist(CONFIG, market, i) for i in range(market.universe.num_classes)]
    meta = phases.start_meta(CONFIG, market)
    return lambda config: {
        "1": phases.plan_specialist(config, market, 0),
        "2": phases.plan_meta(config, market, specialists),
        "3": phases.plan_joint(config, market, specialists, meta),
    }


@pytest.fixture(scope="module")
def plans(planned: Planning) -> dict[str, dict[str, phases.Plan]]:
    """Algorithm -> phase -> what it would run."""
    return {name: planned(dataclasses.replace(CONFIG, algorithm=name)) for name in ("ppo", "pathwise", "pathwise_ppo")}


def config_for(key: str) -> TrainConfig:
    """Settings with an algorithm that a setting belongs to."""
    algorithm = {"pathwise.ppo_share": "pathwise_ppo"}.get(key, "pathwise" if key.startswith("pathwise.") else "ppo")
    return dataclasses.replace(CONFIG, algorithm=algorithm)


def arguments(plan: phases.Plan) -> Any:
    return plan.start_arguments, plan.env_params, plan.hyper


def compiled_for(plan: phases.Plan) -> Any:
    """What a compiled program is looked up by: its static part, and the tree, shapes and types of its arguments."""
    leaves, tree = jax.tree.flatten(arguments(plan))
    return plan.program, tree, [jax.typeof(leaf) for leaf in leaves]  # with their weak types


def differ(one: phases.Plan, other: phases.Plan) -> bool:
    """Whether any number that the program is given differs."""

    numbers = zip(*(jax.tree.leaves((plan.start, plan.env_params, plan.hyper)) for plan in (one, other)), strict=True)
    return any(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in numbers)


def changed(key: str, config: TrainConfig = CONFIG) -> TrainConfig:
    """The settings with another value of one of them, for the first class where it belongs to one."""

    def replaced(group: Any, path: list[str]) -> Any:
        name, *rest = path
        if isinstance(group, dict):
            first = next(iter(group))
            return {**group, first: replaced(group[first], rest)}
        value = getattr(group, name)
        return dataclasses.replace(group, **{name: replaced(value, rest) if rest else other(SETTINGS[key], value)})

    return replaced(config, key.split("."))


def other(setting: Setting, value: Any) -> Any:
    """Another value that the setting may have."""
    if typing.get_origin(setting.type) is typing.Literal:
        return [choice for choice in choices_of(setting.type) if choice != value][-1]
    if setting.type is bool:
        return not value
    if setting.type is int:
        return value + 1 if setting.range is None or value + 1 in setting.range else value - 1
    found = value * 0.9 if value else 0.1
    assert setting.range is not None and found in setting.range
    return found


def keys_of(kind: str) -> list[str]:
    return [key for key, setting in SETTINGS.items() if setting.change.kind == kind]


@pytest.mark.parametrize("key", keys_of("traced"))
def test_a_traced_setting_compiles_nothing_and_reaches_a_program(
    key: str, planned: Planning, plans: dict[str, dict[str, phases.Plan]]
) -> None:
    assert SETTINGS[key].traced and SETTINGS[key].change.compiles == ""
    after, plans = planned(changed(key, config_for(key))), plans[config_for(key).algorithm]
    for phase in PHASES:
        assert compiled_for(after[phase]) == compiled_for(plans[phase]), f"{key} compiles phase {phase}"
    assert any(differ(after[phase], plans[phase]) for phase in PHASES), f"{key} is in no plan"


# Where one program is chosen over another, and a preset that layers of settings are made of, no plan shows it. Of
# networks the package has one to choose from; tests/test_extending.py registers others.
ELSEWHERE = {"parallel", "quick_test", "ppo.network"}


@pytest.mark.parametrize("key", [key for key in keys_of("static") if key not in ELSEWHERE])
def test_a_static_setting_compiles_the_phases_that_it_names(
    key: str, planned: Planning, plans: dict[str, dict[str, phases.Plan]]
) -> None:
    after, plans = planned(changed(key, config_for(key))), plans[config_for(key).algorithm]
    compiled = {phase for phase in PHASES if compiled_for(after[phase]) != compiled_for(plans[phase])}
    assert compiled == set(SETTINGS[key].change.compiles.split())


@pytest.mark.parametrize("key", [key for key in keys_of("host") if SETTINGS[key].type is int])
def test_a_number_of_the_host_compiles_nothing(
    key: str, planned: Planning, plans: dict[str, dict[str, phases.Plan]]
) -> None:
    after, plans = planned(changed(key, config_for(key))), plans[config_for(key).algorithm]
    assert all(compiled_for(after[phase]) == compiled_for(plans[phase]) for phase in PHASES)


def recorded(group: Any, read: set[str], prefix: str = "") -> Any:
    """Equal settings that note which of them are read."""

    def reading(self: Any, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name in group.__dataclass_fields__:
            read.add(prefix + name)
        return value

    copy = object.__new__(type(type(group).__name__, (type(group),), {"__getattribute__": reading}))
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            value = recorded(value, read, f"{prefix}{field.name}.")
        elif isinstance(value, dict):
            value = {name: recorded(item, read, f"{prefix}{field.name}.NAME.") for name, item in value.items()}
        object.__setattr__(copy, field.name, value)
    return copy


def test_the_market_is_made_of_the_settings_called_data_and_of_no_traced_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_bars(*_: Any, **__: Any) -> Any:
        raise UserError("no bars")

    read: set[str] = set()
    prepare_market(recorded(CONFIG, read))
    monkeypatch.setattr("mtquant_jax.market.bars.loading.load_bars", no_bars)
    with pytest.raises(UserError, match="no bars"):
        prepare_market(recorded(dataclasses.replace(CONFIG, data_dir="bars"), read))
    assert read & set(SETTINGS) - {"simulation.episode_length"} == set(keys_of("data"))  # its length is only checked
