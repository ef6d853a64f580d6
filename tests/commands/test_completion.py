"""`mtquant-jax completion`: a real bash completes commands, flags, choices and paths with its script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtquant_jax.cli import main

_TRY = """
source "$1"; shift
complete -p mtquant-jax
COMP_WORDS=("$@") COMP_CWORD=$(( $# - 1 ))
_tyro_mtquant_jax
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path, capsys, monkeypatch) -> Path:
    """The script for bash, printed in a directory without settings."""
    monkeypatch.chdir(tmp_path)
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "completion.bash"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_flags_and_choices(script):
    def offered(*words: str) -> list[str]:
        # The script asks the first python3 that there is.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        result = subprocess.run(
            ["bash", "--norc", "-c", _TRY, "bash", str(script), "mtquant-jax", *words],
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0 and result.stderr == "", result.stderr
        first, *words_offered = result.stdout.splitlines()
        assert first.startswith("complete ") and "-o default" in first and first.endswith(" mtquant-jax")
        return [word for word in words_offered if word]

    assert {"train", "evaluate", "info", "plot", "doctor", "data", "--help"} <= set(offered(""))
    assert offered("tr") == ["train"]
    assert sorted(offered("data", "c")) == ["calibrate", "check", "contracts", "convert"]
    assert offered("train", "--run-d") == ["--run-dir"]
    assert offered("train", "--specialists.forex.l") == ["--specialists.forex.learning-rate"]
    assert "crisis" in offered("train", "--quick-test", "--market.scenario", "")
    assert offered("data", "check", "--timef") == ["--timeframe"]
    assert offered("info", "runs/f") == []  # bash offers files


@pytest.mark.parametrize(("shell", "first"), [("zsh", "#compdef mtquant-jax"), ("fish", "#")])
def test_other_shells_have_a_script(capsys, shell, first):
    assert main(["completion", shell]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(first) and "--specialists.forex.learning-rate" in shown


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
