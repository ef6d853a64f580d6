"""Every command in the documentation: its flags exist and take these values, and cheap ones do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtquant_jax.cli import main
from mtquant_jax.settings import flags
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import shipped

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
CLUSTER = ROOT / "configs" / "cluster"
NO_COMMAND = re.compile(r"[|{]|\.\.\.|\bCOMMAND\b|\bSHELL\b|^mtquant-jax [\d.]+ on ")
"""What shows a form of commands, or the first line that a training prints."""


def commands() -> list[tuple[str, str]]:
    """Page and command of every line of a block, and of every piece of text, that is one."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:text|bash|sh)?\n(.*?)```", text, re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        pieces = [" ".join(piece.split()) for piece in re.findall(r"`(mtquant-jax[^`]*)`", prose)]
        for line in (*lines, *pieces):
            command = line.strip().removeprefix("$ ")
            if command.startswith("mtquant-jax") and not NO_COMMAND.search(command.split(" #")[0]):
                found.append((page.name, command))
    job = next(yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8")))
    script = (CLUSTER / "slurm.sh").read_text(encoding="utf-8")
    found.append(("rayjob.yaml", job["spec"]["entrypoint"]))
    found += [
        ("slurm.sh", line.strip().replace("$@", "a.yaml")) for line in re.findall(r"^ *(mtquant-jax .*)", script, re.M)
    ]
    return list(dict.fromkeys(found))


COMMANDS = commands()


class Parsed(Exception):
    """Carries a command that was understood, in place of running it."""


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """``parse(command line) -> the command's dataclass``, in a folder with the files that the pages speak of."""
    for name in (
        "my.yaml",
        "long.yaml",
        "four.yaml",
        "my_market.yaml",
        "runs/first/logs/e2e_training/resolved_config.yaml",
        "sweeps/ppo/best.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped("agents.yaml"), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    real = flags.tyro.cli

    def stop(kind: Any, *positional: Any, **options: Any) -> Any:
        command = real(kind, *positional, **options)
        if options.get("return_unknown_args"):  # what decides on layers comes first
            return command
        raise Parsed(command)

    def parsed(line: str) -> Any:
        monkeypatch.setattr(flags.tyro, "cli", stop)
        program, *arguments = shlex.split(line, comments=True)
        assert program == "mtquant-jax"
        try:
            assert main(arguments) == 0, line
        except Parsed as understood:
            return understood.args[0]
        return None  # it only prints what there is, as --help and --version

    return parsed


def test_the_pages_are_read():
    assert len(COMMANDS) > 40
    names = {command.split()[1] for _, command in COMMANDS if len(command.split()) > 1}
    assert {"train", "evaluate", "walk-forward", "compare", "data", "info", "plot", "doctor", "runs"} <= names


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line[:60]}" for page, line in COMMANDS])
def test_every_command_is_understood(parse, page, line):
    if re.fullmatch(r"mtquant-jax(?: data| runs)?(?: [a-z-]+)?", line):  # named, and not to be typed as it stands
        assert line == "mtquant-jax" or main([*line.split()[1:], "--help"]) == 0
        return
    command = parse(line)
    settings = getattr(command, "settings", None)
    if isinstance(settings, TrainConfig):
        validate(settings)


def test_the_files_for_clusters_are_sound():
    for script in ("slurm.sh", "train.sh"):
        subprocess.run(["bash", "-n", CLUSTER / script], check=True)
    service, training = yaml.safe_load_all((CLUSTER / "train_job.yaml").read_text(encoding="utf-8"))
    pods = training["spec"]["completions"]
    (command,) = training["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--num-processes {pods} " in command
    assert f"{training['metadata']['name']}-0.{service['metadata']['name']}:" in command
    job, claim = yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8"))
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {
        volume["persistentVolumeClaim"]["claimName"] for g in groups for volume in g["template"]["spec"]["volumes"]
    } == {claim["metadata"]["name"]}
    workers = sum(group["replicas"] for group in cluster["workerGroupSpecs"])
    assert f"--executor ray:{workers} " in job["spec"]["entrypoint"]


def test_a_command_with_a_wrong_flag_is_noticed(parse):
    for line in ("mtquant-jax train --ppo.gama 3", "mtquant-jax data check", "mtquant-jax info a b"):
        with pytest.raises(AssertionError):
            parse(line)


CHEAP = ("info ", "plot ", "train --resume ", "completion ", "runs ")


def test_cheap_commands_do_what_they_say(synthetic_run, monkeypatch, tmp_path, capsys):
    for name in ("runs/first", "my_run", "runs/healthy", "runs/fast", "runs/narrow", "runs/gamma/1", "runs/gamma/2"):
        shutil.copytree(synthetic_run, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    ran = 0
    for page, line in COMMANDS:
        rest = line.removeprefix("mtquant-jax ").split(" #")[0]
        if rest.startswith(CHEAP) and not re.search(r"\b[A-Z_]{4,}\b|/tmp/", rest):
            assert main(shlex.split(rest)) == 0, f"{page}: {line}: {capsys.readouterr().err}"
            ran += 1
    assert ran >= 4
    assert (tmp_path / "training.png").is_file()
