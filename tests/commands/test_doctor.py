"""`mtquant-jax doctor`: one line per check, and what it calls a warning or a problem."""

from __future__ import annotations

import math
from importlib import metadata

import pytest

from mtquant_jax.cli import main
from mtquant_jax.runs import installation, memory
from mtquant_jax.training import self_test
from mtquant_jax.training.self_test import SelfTest

LABELS = [
    "Python",
    "packages",
    "extra eval",
    "extra sweep",
    "extra gymnasium",
    "device",
    "cores",
    "memory",
    "cache",
    "terminal",
]


@pytest.fixture
def doctor(monkeypatch, capsys, tmp_path):
    """``doctor() -> (exit code, lines)`` without the self-test, on 80 columns and with a cache of its own."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    monkeypatch.setattr(installation, "prepare_jax", lambda: None)  # the session's own cache stays
    monkeypatch.setattr(self_test, "self_test", lambda: SelfTest(2000, -0.05, 12_000.0, 1.0))

    def run() -> tuple[int, list[str]]:
        code = main(["doctor"])
        shown = capsys.readouterr()
        assert shown.err == ""
        whole = shown.out.replace("\n" + " " * 26, " ")
        assert max(map(len, shown.out.splitlines())) <= max(80, 27 + len(str(tmp_path / "xla:")))
        return code, whole.splitlines()

    return run


def state_of(lines: list[str], label: str) -> tuple[str, str]:
    """State and text of a check."""
    (line,) = (line for line in lines if line[9:].startswith(f"{label} "))
    return line.split()[0], line[26:]


def test_a_good_installation_is_all_ok(doctor, tmp_path):
    code, lines = doctor()
    assert code == 0 and lines[-1] == "11 checks: 0 problems, 0 warnings"
    assert [line[9:26].strip() for line in lines[:-1]] == [*LABELS, "self-test"]
    assert f"jax {metadata.version('jax')}" in state_of(lines, "packages")[1]
    assert state_of(lines, "cache") == ("ok", f"{tmp_path / 'xla'}: 0 programs, 0 bytes; writable")
    assert state_of(lines, "self-test")[1].startswith("trained 2,000 timesteps at 12,000/s")


def test_packages_out_of_range_or_missing_are_problems(doctor, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(installation.metadata, "version", lambda name: "0.4.1" if name == "jax" else real(name))
    code, lines = doctor()
    assert code == 1 and lines[-1] == "12 checks: 1 problem, 0 warnings"
    state, text = state_of(lines, "package")
    advice = "install the tested versions: pip install -c constraints.txt ."
    assert (state, text) == ("problem", f"jax 0.4.1, >=0.10,<0.12 is supported; {advice}")


def test_a_missing_extra_is_a_warning_that_says_what_needs_it(doctor, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name in ("arch", "plotly"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(installation.metadata, "version", version)
    code, lines = doctor()
    assert code == 0 and lines[-1] == "11 checks: 0 problems, 2 warnings"
    state, text = state_of(lines, "extra eval")
    assert state == "warning" and "not installed (arch, plotly); evaluate, walk-forward and compare need it" in text
    assert "pip install -c constraints.txt '.[eval]'" in text
    state, text = state_of(lines, "extra sweep")  # which brings plotly as well
    assert state == "warning" and "not installed (plotly); sweep needs it" in text


def test_a_gpu_that_jax_does_not_use_is_a_warning(doctor, monkeypatch):
    monkeypatch.setattr(installation, "_has_gpu", lambda: True)
    code, lines = doctor()
    assert code == 0 and "JAX does not use it" in state_of(lines, "extra cuda")[1]


def test_a_cache_that_cannot_be_written_or_is_switched_off_is_a_warning(doctor, monkeypatch, tmp_path):
    (tmp_path / "xla").write_text("a file")
    code, lines = doctor()
    assert code == 0 and state_of(lines, "cache")[0] == "warning" and "cannot be written" in state_of(lines, "cache")[1]
    monkeypatch.setenv("MTQUANT_JAX_NO_CACHE", "1")
    assert state_of(doctor()[1], "cache")[1].startswith("switched off by MTQUANT_JAX_NO_CACHE")


def test_little_memory_is_a_warning_with_a_flag(doctor, monkeypatch):
    monkeypatch.setattr(installation, "main_memory", lambda: memory.Memory(4_000_000_000, 900_000_000, "cgroup"))
    state, text = state_of(doctor()[1], "memory")
    assert state == "warning" and "--num-envs" in text
    assert text.startswith("900.0 MB free of 4.0 GB, limited by cgroup; ")


def test_a_terminal_that_cannot_show_progress_is_a_problem_and_is_told_so(doctor, monkeypatch):
    monkeypatch.setattr(installation, "_shows", lambda characters, encoding: False)
    code, lines = doctor()
    assert code == 1 and "PYTHONUTF8=1" in state_of(lines, "terminal")[1]
    monkeypatch.setattr(installation, "_shows", lambda characters, encoding: characters == "±")
    assert state_of(doctor()[1], "terminal")[0] == "warning"


def test_a_reward_that_is_no_number_is_a_problem(doctor, monkeypatch):
    monkeypatch.setattr(self_test, "self_test", lambda: SelfTest(2000, math.nan, 12_000.0, 1.0))
    code, lines = doctor()
    assert code == 1 and state_of(lines, "self-test")[0] == "problem"


def test_what_a_check_raises_is_a_problem_and_the_others_follow(doctor, monkeypatch):
    def broken() -> SelfTest:
        raise ImportError("libcudart.so is missing")

    monkeypatch.setattr(self_test, "self_test", broken)
    monkeypatch.setattr(installation, "device", broken)
    code, lines = doctor()
    assert code == 1 and lines[-1] == "11 checks: 2 problems, 0 warnings"
    assert "ImportError: libcudart.so is missing" in "\n".join(lines)


def test_the_self_test_learns_something_finite():
    found = self_test.self_test(2)
    assert found.passed and found.timesteps == 500 and found.timesteps_per_second > 0
    assert not SelfTest(1, math.inf, 1.0, 1.0).passed


def test_memory_of_a_container_is_what_counts(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:       8000000 kB\nMemAvailable:   6000000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_address_limit", lambda: None)
    assert memory.main_memory() == memory.Memory(8_192_000_000, 6_144_000_000)
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert memory.main_memory() == memory.Memory(2_000_000_000, 2_000_000_000, "cgroup")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.main_memory().limited_by == ""
    monkeypatch.setattr(memory, "_address_limit", lambda: 1_000_000_000)
    assert memory.main_memory().limited_by == "ulimit -v"
    assert [memory.in_words(size) for size in (12, 3456, 7.8e6, 1.5e9)] == ["12 bytes", "3.5 kB", "7.8 MB", "1.5 GB"]
