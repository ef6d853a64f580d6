"""Whole numbers on the command line, in YAML and in Python."""

from __future__ import annotations

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.settings.flags import whole_number
from mtquant_jax.settings.layers import load_config, override_config


@pytest.mark.parametrize(
    ("text", "number"),
    [("1000000", 1_000_000), ("1_000_000", 1_000_000), ("1e6", 1_000_000), ("2.5E3", 2500), ("-5", -5), ("7.0", 7)],
)
def test_a_whole_number_is_read_as_people_write_it(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["1.5", "1e-3", "1M", "many", "", "1__0", "1e9999", "0x10", "nan", "1 000"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a whole number; write one such as 1000000, 1_000_000 or 1e6"):
        whole_number(text)


def test_a_million_timesteps(tmp_path, capsys):
    assert load_config(["--phase1-timesteps", "1e6", "--save-freq", "1_0000"])[0].phase1_timesteps == 1_000_000
    file = tmp_path / "million.yaml"
    file.write_text("phase1_timesteps: 1e6\n")
    assert override_config(file, {"phase2_timesteps": 2e6}).phase1_timesteps == 1_000_000
    for wrong in ("1.5e0", "1e-1"):
        file.write_text(f"phase1_timesteps: {wrong}\n")
        with pytest.raises(UserError, match="phase1_timesteps must be a whole number, not"):
            override_config(file, {})
    with pytest.raises(SystemExit):
        load_config(["--phase1-timesteps", "1M"])
    assert "1M is not a whole number; write one" in " ".join(capsys.readouterr().err.replace("│", "").split())
