"""YAML in, settings out: strict scalars, known keys only, right types only."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.settings import yaml_files as config_files
from mtquant_jax.settings.config import MarketConfig, PPOConfig, SpecialistConfig, TrainConfig
from mtquant_jax.settings.yaml_files import apply, read_yaml, shipped, to_yaml


def read(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3E+2", -300.0),
        ("010", 10),
        ("100_000", 100_000),
        ("NO", "NO"),
        ("on", "on"),
        ("2024-01-31", "2024-01-31"),
        ("12:30", "12:30"),
        ("1,2,3", "1,2,3"),
        ("true", True),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_follow_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    read_back = read(tmp_path, f"key: {text}")["key"]
    assert read_back == value
    assert type(read_back) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "settings.yaml: the file is empty; expected keys and values"),
        ("# only a comment\n", "settings.yaml: the file is empty; expected keys and values"),
        ("- a\n- b\n", "settings.yaml line 1: expected keys and values at the top level, found a list"),
        ("a: 1\nb: 2\na: 3\n", "settings.yaml line 3: key a was given already in line 1"),
        ("p:\n  a: 1\n  a: 3\n", "settings.yaml line 3: key a was given already in line 2"),
        ("1: a\n", "settings.yaml line 1: a key must be text; quote it"),
        ("a: 1\n\tb: 2\n", "settings.yaml line 2: found character '\\t' that cannot start any token"),
        ("a: !!int x\n", "settings.yaml line 1: 'x' is no whole number of at most 64 bits"),
        ("a: !!python/object:os.system ls\n", "settings.yaml line 1: could not determine a constructor for the tag"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/{message}")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml line 1: not UTF-8 text \(invalid continuation byte at byte 3\)"):
        read_yaml(tmp_path / "latin.yaml")


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    text = "one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}\n"
    assert read(tmp_path, text)["two"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"ppo": {"gama": 1}}, "unknown key ppo.gama; did you mean ppo.gamma?"),
        ({"gamma": 0.9}, "unknown key gamma; did you mean ppo.gamma?"),
        ({"phase_1_timesteps": 9}, "unknown key phase_1_timesteps; did you mean phase1_timesteps?"),
        (
            {"specialists": {"forex": {"symbls": []}}},
            "unknown key specialists.forex.symbls; did you mean specialists.forex.symbols?",
        ),
        (
            {"meta_controller": {"xyz": 1}},
            "unknown key meta_controller.xyz; valid keys are meta_controller.learning_rate, "
            "meta_controller.batch_size, meta_controller.interval",
        ),
        ({"ppo": 3}, "ppo must be a group of keys and values, not 3"),
        ({"specialists": None}, "specialists must be a group of keys and values, not nothing"),
        ({"specialists": {"forex": []}}, "specialists.forex must be a group of keys and values, not a list"),
        ({"seed": True}, "seed must be a whole number, not true"),
        ({"seed": 1.0}, "seed must be a whole number, not 1.0"),
        ({"ppo": {"gamma": "high"}}, 'ppo.gamma must be a number, not "high"'),
        ({"ppo": {"gamma": False}}, "ppo.gamma must be a number, not false"),
        ({"parallel": 1}, "parallel must be true or false, not 1"),
        ({"phases": 1}, 'phases must be text, not 1; put it in quotes: "1"'),
        (
            {"specialists": {"forex": {"symbols": "EURUSD"}}},
            'specialists.forex.symbols must be a list such as [EURUSD, GBPUSD], not "EURUSD"',
        ),
        (
            {"specialists": {"china": {"symbols": ["A", 600519]}}},
            'specialists.china.symbols[1] must be text, not 600519; put it in quotes: "600519"',
        ),
        (
            {"portfolio_reward": {"objective": "money"}},
            'portfolio_reward.objective must be one of log_growth, mean_variance, differential_sharpe, not "money"',
        ),
        ({"reward": "mean_variance"}, 'reward must be a group of keys and values, not "mean_variance"'),
        (
            {"simulation": {"reward": "log_growth"}},
            "unknown key simulation.reward; it is now reward.objective (what a specialist is paid) and "
            "portfolio_reward.objective (the portfolio)",
        ),
        (
            {"simulation": {"risk_aversion": 2}},
            "unknown key simulation.risk_aversion; it is now reward.risk_aversion and portfolio_reward.risk_aversion",
        ),
    ],
)
def test_wrong_keys_and_types_are_named_with_the_right_ones(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        apply(TrainConfig(), mapping, "configs/agents.yaml")
    assert str(error.value) == f"configs/agents.yaml: {message}"


def test_only_what_is_given_changes() -> None:
    config = apply(TrainConfig(seed=7), {"ppo": {"gamma": 1}, "num_envs": 3}, "a.yaml")
    assert config == TrainConfig(seed=7, num_envs=3, ppo=PPOConfig(gamma=1.0))
    assert isinstance(config.ppo.gamma, float)


def test_a_specialists_block_replaces_all_classes() -> None:
    before = TrainConfig(specialists={"forex": SpecialistConfig(("EURUSD",)), "equity": SpecialistConfig(("US30",))})
    after = apply(before, {"specialists": {"forex": {"batch_size": 5, "symbols": ["A", "B"]}}}, "a.yaml")
    assert after.specialists == {"forex": SpecialistConfig(symbols=("A", "B"), batch_size=5)}


def test_the_shipped_file_gives_the_three_classes() -> None:
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "configs/agents.yaml")
    assert {name: specialist.symbols for name, specialist in config.specialists.items()} == {
        "forex": ("EURUSD", "GBPUSD", "USDJPY"),
        "commodities": ("XAUUSD", "WTIUSD"),
        "equity": ("SPX500", "NAS100", "US30"),
    }


def test_the_shipped_file_and_the_defaults_agree() -> None:
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "configs/agents.yaml")
    assert dataclasses.replace(config, specialists={}) == TrainConfig()


def test_shipped_prefers_the_copy_inside_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "mtquant_jax"
    for folder in (package.parent / "configs", package / "configs"):
        folder.mkdir(parents=True)
        (folder / "agents.yaml").touch()
    monkeypatch.setattr(config_files, "_PACKAGE", package)
    assert shipped("agents.yaml") == package / "configs" / "agents.yaml"
    with pytest.raises(UserError, match=r"configs/absent\.yaml does not belong to this installation"):
        shipped("absent.yaml")


@pytest.mark.parametrize("text", ["1e5", "true", "2024-01-01", "~", "", "0123", "é: #", "1,2,3"])
def test_settings_survive_being_written(tmp_path: Path, text: str) -> None:
    config = TrainConfig(
        run_dir=text,
        specialists={"forex": SpecialistConfig(("EURUSD", "NO"), learning_rate=1e-5)},
        market=MarketConfig(start=text, edge=1 / 3),
    )
    assert apply(TrainConfig(), read(tmp_path, to_yaml(config)), "settings.yaml") == config


def test_every_setting_has_a_line_of_help() -> None:
    lines = Path(str(config_files.__file__)).with_name("config.py").read_text(encoding="utf-8").splitlines()
    for field in dataclasses.fields(PPOConfig):
        index = next(i for i, line in enumerate(lines) if line.startswith(f"    {field.name}: "))
        assert lines[index + 1].lstrip().startswith('"""')
