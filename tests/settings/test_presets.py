"""`--preset` and `--risk-preset`: whole presets, and single settings of the user's over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtquant_jax.cli import main
from mtquant_jax.settings.layers import load_config, override_config
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.training.phases import updates_for


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_default_limits_are_those_of_the_issue():
    risk = load_config([])[0].risk
    assert (risk.var_limit, risk.var_confidence, risk.class_limit, risk.correlation_threshold) == (0.02, 0.95, 0.4, 0.7)
    assert (risk.halving_loss, risk.reduction_loss, risk.flattening_loss) == (0.05, 0.10, 0.15)


def test_prop_firm_acts_before_a_challenge_ends():
    config, _ = load_config(["--risk-preset", "prop_firm"])
    assert config.risk_preset == "prop_firm"
    assert (config.risk.halving_loss, config.risk.reduction_loss, config.risk.flattening_loss) == (0.015, 0.025, 0.035)
    assert config.risk.var_limit == 0.01


def test_off_has_no_limit():
    risk = load_config(["--risk-preset=off"])[0].risk
    limits = {
        name: value for name, value in vars(risk).items() if name not in ("correlation_threshold", "var_confidence")
    }
    assert set(limits.values()) == {0.0}


def test_an_unknown_preset_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--risk-preset", "prop"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --risk-preset prop: unknown preset; choose from default, prop_firm, off (")
    assert error.count("\n") == 1


def test_flag_over_yaml_over_preset(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("risk_preset: prop_firm\nrisk: {var_limit: 0.007, gross_limit: 0.5}\n")
    risk = load_config(["--config", "mine.yaml", "--risk.gross-limit", "0.6"])[0].risk
    assert (risk.var_limit, risk.gross_limit, risk.class_limit) == (0.007, 0.6, 0.3)
    # The preset as a flag wins over the preset of the file, not over the file's single limits.
    config, _ = load_config(["--config", "mine.yaml", "--risk-preset", "default"])
    assert (config.risk_preset, config.risk.var_limit, config.risk.class_limit) == ("default", 0.007, 0.4)


def test_a_limit_out_of_range_is_named(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--risk.var-confidence", "0.4"]) == 2
    assert "--risk.var-confidence 0.4: must be above 0.5 and below 1" in capsys.readouterr().err


def test_a_preset_lies_under_the_file_and_the_flags(tmp_path: Path):
    fast, usual = load_config(["--preset", "fast"])[0], load_config([])[0]
    assert fast.preset == "fast" and fast.phase1_timesteps < usual.phase1_timesteps
    assert fast.ppo == usual.ppo and fast.risk == usual.risk
    (tmp_path / "mine.yaml").write_text("preset: fast\nphase2_timesteps: 77\n")
    config = load_config(["--config", "mine.yaml", "--phase3-timesteps", "99"])[0]
    timesteps = (config.phase1_timesteps, config.phase2_timesteps, config.phase3_timesteps)
    assert timesteps == (fast.phase1_timesteps, 77, 99)
    config = load_config(["--config", "mine.yaml", "--preset", "thorough"])[0]
    assert (config.preset, config.phase2_timesteps) == ("thorough", 77)
    assert config.phase1_timesteps > usual.phase1_timesteps
    assert override_config(None, {"preset": "fast"}).phase1_timesteps == fast.phase1_timesteps


def test_a_preset_may_bring_a_risk_preset_which_a_flag_replaces():
    assert load_config(["--preset", "prop_firm"])[0].risk == load_config(["--risk-preset", "prop_firm"])[0].risk
    config = load_config(["--preset", "prop_firm", "--risk-preset", "off"])[0]
    assert (config.preset, config.risk_preset, config.risk.gross_limit) == ("prop_firm", "off", 0.0)


def test_a_quick_test_is_quick_under_any_preset(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("preset: gpu\nquick_test: true\n")
    for flags in (
        ["--preset", "thorough", "--quick-test"],
        ["--preset", "gpu", "--quick-test"],
        ["--config", "mine.yaml"],
    ):
        config = load_config(flags)[0]
        assert config.phase1_timesteps == 1000 and {s.batch_size for s in config.specialists.values()} == {125}


def test_an_unknown_preset_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--preset", "quick"]) == 2
    error = capsys.readouterr().err
    assert "--preset quick: unknown preset; choose from fast, default, thorough, prop_firm, gpu (" in error


def test_a_preset_may_set_something_for_every_class_under_the_file_of_the_user(tmp_path: Path):
    config, usual = load_config(["--preset", "gpu"])[0], load_config([])[0]
    assert {name: s.batch_size for name, s in config.specialists.items()} == dict.fromkeys(usual.specialists, 8000)
    assert {name: s.symbols for name, s in config.specialists.items()} == {
        name: s.symbols for name, s in usual.specialists.items()
    }
    (tmp_path / "mine.yaml").write_text(
        "specialists: {fx: {symbols: [EURUSD]}, gold: {symbols: [XAUUSD], batch_size: 4000}}\n"
    )
    config = load_config(["--config", "mine.yaml", "--preset", "gpu"])[0]
    assert {name: s.batch_size for name, s in config.specialists.items()} == {"fx": 8000, "gold": 4000}


def test_a_preset_wins_over_what_the_file_of_a_checkout_repeats_of_the_shipped_one(tmp_path: Path):
    shipped_file = shipped("agents.yaml").read_text()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "agents.yaml").write_text(shipped_file)
    for flags in ([], ["--config", "configs/agents.yaml"]):
        assert load_config([*flags, "--preset", "gpu"])[0].num_envs == 2000
    (tmp_path / "configs" / "agents.yaml").write_text(shipped_file.replace("num_envs: 125", "num_envs: 1000"))
    assert load_config(["--preset", "gpu"])[0].num_envs == 1000
    (tmp_path / "mine.yaml").write_text("meta_controller: {batch_size: 500}\n")
    assert load_config(["--config", "mine.yaml", "--preset", "gpu"])[0].meta_controller.batch_size == 500


def test_the_preset_for_gpus_learns_in_as_many_updates_by_every_algorithm():
    for algorithm in ("ppo", "pathwise", "pathwise_ppo"):
        one, other = (load_config([*flags, "--algorithm", algorithm])[0] for flags in ([], ["--preset", "gpu"]))
        for phase in (1, 2, 3):
            assert updates_for(other, phase) == pytest.approx(updates_for(one, phase), abs=1)
