"""The command line: precedence of its layers, help, exit codes and one-line errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

import mtquant_jax.runs
from mtquant_jax.cli import _PROGRAM, _Command, main, train_main
from mtquant_jax.errors import UserError
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import load_config
from mtquant_jax.storage.recorder import Output

REPOSITORY = Path(__file__).resolve().parents[2]
Runs = list[tuple[TrainConfig, str]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Runs]:
    """Trainings that the command line starts, recorded instead of run, in an empty current directory."""
    started: Runs = []
    pipeline = types.ModuleType("mtquant_jax.runs.train")
    pipeline.run = lambda config, config_source, output, overwrite, resume: started.append((config, config_source))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mtquant_jax.runs.train", pipeline)
    monkeypatch.setattr(mtquant_jax.runs, "train", pipeline, raising=False)
    monkeypatch.setattr("mtquant_jax.commands.train.prepare_jax", lambda devices: None)
    monkeypatch.chdir(tmp_path)
    yield started


def test_the_defaults_of_the_issue(runs: Runs) -> None:
    assert main(["train"]) == 0
    config, source = runs[0]
    assert (config.phase1_timesteps, config.phase2_timesteps, config.phase3_timesteps) == (100_000, 50_000, 50_000)
    assert (config.parallel, config.save_freq, config.phases) == (True, 10_000, "1,2,3")
    assert not config.curriculum
    assert (config.data_dir, config.run_dir, config.quick_test) == ("", ".", False)
    assert list(config.specialists) == ["forex", "commodities", "equity"]
    assert source == str(REPOSITORY / "configs" / "agents.yaml") or source.endswith("mtquant_jax/configs/agents.yaml")


def test_flag_over_yaml_over_default(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("ppo: {gamma: 0.9, gae_lambda: 0.8}\nseed: 3\n")
    assert main(["train", "--config", "mine.yaml", "--ppo.gamma", "0.5"]) == 0
    config, source = runs[0]
    assert (config.ppo.gamma, config.ppo.gae_lambda, config.ppo.clip_range, config.seed) == (0.5, 0.8, 0.3, 3)
    assert list(config.specialists) == ["forex", "commodities", "equity"]
    assert source == "mine.yaml"


def test_agents_yaml_of_the_current_directory_is_the_default(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "agents.yaml").write_text("specialists: {crypto: {symbols: [BTCUSD], batch_size: 250}}\n")
    assert main(["train", "--specialists.crypto.learning-rate", "1e-5"]) == 0
    config, source = runs[0]
    assert source == "configs/agents.yaml"
    assert {name: (s.symbols, s.batch_size, s.learning_rate) for name, s in config.specialists.items()} == {
        "crypto": (("BTCUSD",), 250, 1e-5)
    }


def test_nested_flags_and_underscores(runs: Runs) -> None:
    flags = "--no-parallel --curriculum --num_envs 250 --specialists.forex.symbols EURUSD AUDUSD --market.gap_bars=9"
    assert main(["train", *flags.split(), "--ppo.no-anneal-learning-rate"]) == 0
    config = runs[0][0]
    assert not config.parallel and config.curriculum and not config.ppo.anneal_learning_rate
    assert (config.num_envs, config.market.gap_bars) == (250, 9)
    assert config.specialists["forex"].symbols == ("EURUSD", "AUDUSD")


def test_the_quick_test_lies_between_yaml_and_flags(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("phase1_timesteps: 77\nspecialists: {a: {symbols: [X], batch_size: 40}}\n")
    assert main(["train", "--config=mine.yaml", "--quick_test", "--phase2-timesteps", "250"]) == 0
    config = runs[0][0]
    assert config.quick_test
    assert (config.phase1_timesteps, config.phase2_timesteps, config.phase3_timesteps) == (1000, 250, 500)
    assert (config.num_envs, config.num_steps, config.save_freq) == (10, 25, 500)
    assert (config.market.num_paths, config.market.num_bars) == (4, 3000)
    assert (config.specialists["a"].symbols, config.specialists["a"].batch_size) == (("X",), 125)
    assert (config.meta_controller.batch_size, config.joint_training.batch_size) == (125, 125)


def test_a_quick_test_asked_for_in_yaml_leaves_what_the_yaml_gives(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("quick_test: true\nnum_envs: 250\nmarket: {num_paths: 2}\n")
    assert main(["train", "--config", "mine.yaml"]) == 0
    config = runs[0][0]
    assert (config.num_envs, config.num_steps, config.market.num_paths, config.market.num_bars) == (250, 25, 2, 3000)
    assert {specialist.batch_size for specialist in config.specialists.values()} == {125}
    assert main(["train", "--config", "mine.yaml", "--no-quick-test"]) == 0
    assert (runs[1][0].phase1_timesteps, runs[1][0].quick_test) == (100_000, False)


def test_a_resolved_configuration_repeats_its_run(runs: Runs, tmp_path: Path) -> None:
    from mtquant_jax.settings.yaml_files import to_yaml

    assert main(["train", "--quick-test", "--num-envs", "20", "--seed", "5"]) == 0
    (tmp_path / "resolved.yaml").write_text(to_yaml(runs[0][0]))
    assert main(["train", "--config", "resolved.yaml"]) == 0
    assert runs[1][0] == runs[0][0]


def test_the_phase_of_a_script_lies_between_yaml_and_flags(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("phases: 1,3\n")
    assert train_main(["--config", "mine.yaml"], phases="2") == 0
    assert train_main(["--config", "mine.yaml", "--phases", "2,3"], phases="2") == 0
    assert [config.phases for config, _ in runs] == ["2", "2,3"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--phases", "4"], '--phases 4: unknown phase "4"; choose from 1, 2, 3'),
        (["--phase1-timesteps", "-5"], "--phase1-timesteps -5: must be at least 1"),
        (["--config", "absent.yaml"], "absent.yaml: no such file"),
        (["--config", "configs/agents.yaml"], "configs/agents.yaml: no such file"),
        (["--config", "wrong.yaml"], "wrong.yaml: unknown key ppo.gama; did you mean ppo.gamma?"),
        (["--config", "wrong.yaml", "--quick-test"], "wrong.yaml: unknown key ppo.gama; did you mean ppo.gamma?"),
        (["--config", "flat.yaml", "--quick-test"], "flat.yaml: market must be a group of keys and values, not 3"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    (tmp_path / "wrong.yaml").write_text("ppo: {gama: 0.9}\n")
    (tmp_path / "flat.yaml").write_text("market: 3\n")
    assert main(["train", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {message}\n"
    assert captured.out == ""
    assert not runs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat.yaml", "wrong.yaml"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ppo.gama", "3"], "--ppo.gamma"),
        (["--num-envs", "many"], "--num-envs"),
        (["--config"], "--config"),
        (["--portfolio-reward.objective", "money"], "log_growth"),
    ],
)
def test_a_wrong_flag_is_exit_code_2(
    runs: Runs, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["train", *flags]) == 2
    assert message in capsys.readouterr().err
    assert not runs


def test_unknown_and_missing_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "error: mtquant-jax trian: unknown command; did you mean train?\n"
    assert main(["fly", "--far"]) == 2
    every = "train, evaluate, signal, paper, live, export, walk-forward, sweep, controls, compare, info, runs, plot, "
    every += "data, doctor, completion"
    assert capsys.readouterr().err.endswith(f"choose from {every}\n")
    assert main(["tra"]) == 2 and main(["--versio"]) == 2  # abbreviations are refused
    capsys.readouterr()
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mtquant-jax ")
    assert main(["--help"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "usage: mtquant-jax [-h] [--version]" in listed and "Train and test trading agents." in listed
    assert "three-phase training" in listed and "check, convert and measure bar files" in listed
    assert main(["data", "--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"• {name}" in listed for name in ("check", "convert", "calibrate", "contracts"))


def test_without_a_command_newcomers_are_shown_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr()
    first = shown.out.splitlines()[0]
    assert first.startswith("mtquant-jax trains ") and max(map(len, shown.out.splitlines())) <= 80
    commands = [line.split()[1] for line in shown.out.splitlines() if line.startswith("  mtquant-jax ")]
    assert commands == ["train", "evaluate", "data"] and "mtquant-jax --help lists" in shown.out
    assert shown.err == ""
    assert main(["data"]) == 0
    alone = capsys.readouterr()
    assert main(["data", "--help"]) == 0
    assert alone == capsys.readouterr() and alone.err == ""


def test_errors_of_the_training_itself(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: BaseException) -> None:
        def run(config: TrainConfig, config_source: str, output: Output, overwrite: bool, resume: bool) -> None:
            raise error

        monkeypatch.setattr("mtquant_jax.runs.train.run", run)

    fail(UserError("the data\n  are gone"))
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "error: the data are gone\n"
    fail(KeyboardInterrupt())
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def test_help_tells_every_field_and_the_defaults_of_the_yaml(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("num_envs: 123\n")
    assert main(["train", "--config", "mine.yaml", "--help"]) == 0
    text = capsys.readouterr().out
    for flag in ("--config", "--quick-test", "--ppo.gamma", "--specialists.forex.learning-rate", "--market.edge"):
        assert flag in text
    assert "(default: 123)" in text
    assert "Discount per bar. Above 0 and at most 1. (default: 0.98)" in " ".join(text.replace("│", " ").split())
    assert main(["train", "--config", "absent.yaml", "--help"]) == 0
    assert "--ppo.gamma" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "",
        "train",
        "evaluate",
        "export",
        "walk-forward",
        "sweep",
        "controls",
        "compare",
        "info",
        "runs",
        "runs list",
        "runs show",
        "runs compare",
        "runs tag",
        "runs prune",
        "plot",
        "data",
        "data calibrate",
        "data contracts",
    ],
)
def test_help_does_not_import_jax(command: str) -> None:
    code = (
        f"import sys; from mtquant_jax.cli import main; code = main({[*command.split(), '--help']}); "
        "sys.exit(code or any(name in sys.modules for name in ('jax', 'numpy', 'orbax', 'arch', 'plotly')))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: mtquant-jax {command}".rstrip())


def every_command(command: _Command = _PROGRAM, name: str = "") -> Iterator[str]:
    """Names of all commands and groups of them."""
    yield name
    for inner, found in command.commands.items():
        yield from every_command(found, f"{name} {inner}".strip())


def words(text: str) -> list[str]:
    """The words of a help without its frames, sorted: wide terminals show groups side by side."""
    return sorted(word for word in re.split(r"[\s,]+", text) if set(word) - set("─╭╮╰╯│"))


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("name", list(every_command()))
def test_help_fits_the_terminal_and_breaks_no_word(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        assert main([*name.split(), "--help"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    narrow = shown(columns)
    assert max(map(len, narrow.splitlines())) <= columns
    assert words(narrow) == words(shown(100_000))


def test_help_of_a_training_begins_with_what_most_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    flags = re.findall(r"^│ (--[\w.-]+)", capsys.readouterr().out, re.MULTILINE)
    first = ["--run-dir", "--data-dir", "--symbols", "--quick-test", "--preset", "--seed"]
    start = flags.index("--run-dir")
    assert flags[start : start + len(first)] == first and {"--resume", "--overwrite"} <= set(flags[:start])
    assert start < 10 and len(flags) == len(set(flags)) > 100


def test_help_names_units_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Approximate KL divergence at which an update stops early; 0 is off. Unit: nats. At least 0." in text
    assert "Parallel episodes. At least 1." in text  # it says so itself


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = "import sys; from mtquant_jax.cli import main; sys.exit(main(['train', '--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("name", "phases"), [("end_to_end", "1,2,3"), ("phase1", "1"), ("phase2", "2"), ("phase3", "3")]
)
def test_the_scripts_run_from_any_directory(tmp_path: Path, name: str, phases: str) -> None:
    script = REPOSITORY / "scripts" / f"run_{name}_training.py"
    result = subprocess.run(
        [sys.executable, str(script), "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {script.name}")
    assert f"(default: {phases})" in " ".join(result.stdout.replace("│", " ").split())


def test_settings_load_without_running_anything() -> None:
    config, _ = load_config(["--seed", "9"])
    assert config.seed == 9


CACHED_PROGRAM = """
import sys
from mtquant_jax.jax_setup import prepare_jax
prepare_jax()
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
from jax._src import monitoring
monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
jax.jit(lambda x: jax.numpy.sin(x) @ x.T)(jax.numpy.ones((8, 8))).block_until_ready()
print(len(hits))
"""


@pytest.mark.slow
def test_compiled_programs_are_kept_between_processes(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "JAX" not in name and "TF_CPP" not in name}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    hits = []
    for extra in ({}, {}, {"MTQUANT_JAX_NO_CACHE": "1"}):
        result = subprocess.run(
            [sys.executable, "-c", CACHED_PROGRAM], env=environment | extra, capture_output=True, text=True, timeout=120
        )
        assert result.stderr == ""
        hits.append(int(result.stdout))
    assert (tmp_path / "mtquant-jax" / "xla").is_dir()
    assert hits[0] == 0 and hits[1] > 0 and hits[2] == 0


def test_a_cache_folder_that_cannot_be_made_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("MTQUANT_JAX_NO_CACHE", raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "xla"))
    before = jax.config.jax_compilation_cache_dir
    prepare_jax()
    assert jax.config.jax_compilation_cache_dir == before


def test_a_training_says_at_once_what_it_runs_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data-dir", str(tmp_path / "nowhere"), "--run-dir", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("mtquant-jax ") and captured.out.count("\n") == 1
    assert f"on cpu (cpu) x {jax.device_count()}" in captured.out and captured.out.endswith("agents.yaml\n")
    assert captured.err.startswith("error: ") and "nowhere" in captured.err
    assert not (tmp_path / "run").exists()
