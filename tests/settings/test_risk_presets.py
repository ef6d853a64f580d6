"""`--risk-preset`: whole presets, and single limits of the user's over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtquant_jax.cli import main
from mtquant_jax.settings.layers import load_config


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
