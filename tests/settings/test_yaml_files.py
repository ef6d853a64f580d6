"""YAML in, settings out: strict scalars, known keys only, right types only."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.settings import yaml_files as config_files
from mtquant_jax.settings.config import MarketConfig, PPOConfig, SpecialistConfig, TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped, to_yaml, write_settings
from mtquant_jax.settings.yaml_text import read_yaml


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


LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
MERGED = "b0: &b0 {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 9)}]}}\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.encode(), r" line 6: more than 100,000 keys and values, where aliases count as what they stand for"),
        (MERGED.encode(), r" line 6: more than 100,000 keys and values"),
        (b"a: &a [1, *a]\n", r" line 1: an alias within itself"),
        (b"a: &a {b: *a}\n", r" line 1: an alias within itself"),
        (b"a: " + b"[" * 60 + b"]" * 60, r" line 1: groups and lists within each other, over more than 50 levels"),
        (b"a: " + b"[" * 3000, r": groups and lists within each other, over more than 50 levels"),
        (b"x: 1\n# " + b"x" * (1 << 20), r": more than 1,048,576 bytes; no file of settings has"),
        (b"a: 1\nb: \0\n", r" line 2: the character 0x0 belongs in no text"),
        (b"a: 1\nb: \xff\n", r" line 2: not UTF-8 text \(invalid start byte at byte 8\)"),
        ("a: 1\n".encode("utf-16"), r" line 1: not UTF-8 text"),
        (b"a: " + b"9" * 5000, r" line 1: '9+\.\.\. is no whole number of at most 64 bits"),
        (b"a: -9223372036854775809", r" line 1: '-9223372036854775809' is no whole number of at most 64 bits"),
        (b"a: !!float x", r" line 1: 'x' is no number"),
        (b"a: !!bool 7", r" line 1: '7' is no true or false"),
        (b"a: 1\nb: !!binary aGk=", r" line 2: could not determine a constructor for the tag"),
        (b"a: !!set {b}", r" line 1: could not determine a constructor for the tag"),
        (b"a: !!timestamp 2020-01-01", r" line 1: could not determine a constructor for the tag"),
        (b"a: *nothing", r" line 1: found undefined alias 'nothing'"),
        (b"a: 1\n---\nb: 2\n", r" line 2: but found another document"),
    ],
)
def test_hostile_files_are_refused_with_their_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path)) + message) as error:
        read_yaml(path)
    assert len(str(error.value)) < 300


def test_an_alias_may_be_used(tmp_path: Path) -> None:
    text = "a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\n"
    assert read(tmp_path, text)["c"] == {"x": [1, 2], "y": 3} and read(tmp_path, text)["b"] == {"x": [1, 2]}


def test_what_the_program_has_written_must_be_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "resolved_config.yaml"
    write_settings(path, TrainConfig(seed=3))
    assert apply(TrainConfig(), read_yaml(path, must_be_sealed=True), "x") == TrainConfig(seed=3)
    written = path.read_bytes()
    path.write_bytes(written.replace(b"\n", b"\r\n"))  # as git may do on Windows
    assert read_yaml(path, must_be_sealed=True)["seed"] == 3
    for changed in (written.replace(b"seed: 3", b"seed: 4"), written[:-2] + b"x\n", written + b"seed: 4\n"):
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"was changed after it was written, or is damaged: its last line"):
            read_yaml(path)
    path.write_bytes(written.replace(b"seed: 3", b"seed: 4").rpartition(b"#")[0])
    assert read_yaml(path)["seed"] == 4  # a file of the user's own
    with pytest.raises(UserError, match="has no checksum"):
        read_yaml(path, must_be_sealed=True)
