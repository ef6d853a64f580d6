"""The documentation: every setting is in it with its type, range and default, links lead somewhere, lines are short."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mtquant_jax.commands.compare import CompareCommand
from mtquant_jax.commands.contracts import ContractsCommand
from mtquant_jax.commands.evaluate import EvaluateCommand
from mtquant_jax.commands.export import ExportCommand
from mtquant_jax.commands.info import InfoCommand
from mtquant_jax.commands.live import LiveCommand
from mtquant_jax.commands.paper import PaperCommand, PaperReportCommand
from mtquant_jax.commands.plot import PlotCommand
from mtquant_jax.commands.runs import RunsCompareCommand, RunsListCommand, RunsPruneCommand, RunsTagCommand
from mtquant_jax.commands.signal import SignalCommand
from mtquant_jax.commands.sweep import SweepCommand
from mtquant_jax.commands.train import TrainCommand
from mtquant_jax.commands.walk_forward import WalkForwardCommand
from mtquant_jax.market.features import FEATURE_NAMES
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.fields import fields_of
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from scripts import document_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SETTINGS_PAGE = document_settings.PAGE.read_text(encoding="utf-8")


def documented() -> dict[str, list[str]]:
    """Dotted key -> cells of its row in the tables of configuration.md."""
    found: dict[str, list[str]] = {}
    prefix = ""
    for line in SETTINGS_PAGE.splitlines():
        if line.startswith("### "):
            prefix = "" if line == "### Top level" else line.removeprefix("### ") + "."
        elif line.startswith("| `"):
            key, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[prefix + key.strip("`")] = cells
    return found


def test_the_tables_of_settings_are_fresh():
    fresh = document_settings.documented(SETTINGS_PAGE)
    assert fresh == SETTINGS_PAGE, "python scripts/document_settings.py writes them"


def test_the_page_has_every_setting_with_all_that_its_field_says():
    rows = documented()
    assert sorted(rows) == sorted(setting.key for setting in fields_of(TrainConfig))
    assert rows["ppo.gamma"] == ["number (0, 1]", "0.98", "per bar", "Discount per bar.", "traced", "-"]
    assert rows["specialists.NAME.symbols"][:2] == ["list", ""]
    assert rows["parallel"][:2] == ["true/false", "true"]
    assert rows["num_envs"] == [
        "whole number [1, inf)",
        "125",
        "episodes",
        "Parallel episodes of PPO.",
        "static",
        "1 2 3",
    ]
    assert rows["joint_training.learning_rate"][1] == "0.0005"
    assert rows["simulation.margin_leverage.forex"][4:] == ["data", "-"]
    for key, (*_, meaning, _, compiles) in rows.items():
        assert meaning and re.fullmatch(r"-|[123m]( [123m])*", compiles), key


def test_a_page_without_a_table_for_a_group_is_refused():
    with pytest.raises(ValueError, match="### ppo with a table"):
        document_settings.documented(SETTINGS_PAGE.replace("### ppo\n", "### PPO\n"))


def test_the_shipped_file_and_the_code_have_the_same_defaults():
    origin = shipped("agents.yaml")
    config = apply(TrainConfig(), read_yaml(origin), str(origin))
    assert dataclasses.replace(config, specialists={}) == TrainConfig()


def test_examples_in_yaml_are_valid():
    examples = re.findall(r"```yaml\n(.*?)```", SETTINGS_PAGE, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert apply(TrainConfig(), yaml.safe_load(example), "example").specialists


def test_flags_in_the_pages_exist():
    known = {"--" + key.replace("_", "-").replace("NAME", name) for key in documented() for name in ("forex", "equity")}
    known |= {flag.replace(".forex.", ".commodities.") for flag in known}
    known |= {"--config", "--help", "--version", "--logdir", "--samples_per_plugin", "--output"}
    known |= {
        "--rejax-python",
        "--sb3-python",
        "--keep",
        "--envs",
        "--sizes",
        "--markets",
        "--name",
        "--only",
        "--cases",
        "--specialists-only",
    }
    known |= {"--seeds", "--first-seed", "--settings", "--studies", "--algorithms", "--short"}  # of benchmarks
    known |= {"--from"}  # of `data contracts`, where it is no word of Python
    commands = (TrainCommand, EvaluateCommand, WalkForwardCommand, CompareCommand, ContractsCommand, InfoCommand)
    deployed = (ExportCommand, LiveCommand, PaperCommand, PaperReportCommand, SignalCommand)
    of_runs = (*deployed, RunsListCommand, RunsCompareCommand, RunsTagCommand, RunsPruneCommand)
    for command in (*commands, *of_runs, PlotCommand, SweepCommand):
        known |= {"--" + field.name.replace("_", "-") for field in dataclasses.fields(command)}
    # How a true/false is switched off.
    known |= {flag.replace(".project-", ".no-project-") for flag in known} | {"--no-parallel"}
    for page in PAGES:
        text = page.read_text()
        for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*[\w]", text):
            assert flag in known, f"{page.name}: {flag}"


def test_every_feature_is_documented():
    agents = (ROOT / "docs" / "agents_and_phases.md").read_text()
    for feature in FEATURE_NAMES:
        short = re.sub(r"^(return|trend)(_\d+)$", r"\2", feature)
        assert f"`{feature}`" in agents or f"`{short}`" in agents, feature


def test_python_examples_are_whole_and_what_they_import_exists():
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "outputs.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        compile(example, "outputs.md", "exec")
        exec("\n".join(re.findall(r"^(?:import|from) .*$", example, re.MULTILINE)), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short_and_links_lead_somewhere(page):
    text = page.read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # what a program prints and tables cannot be wrapped
    assert max(len(line) for line in prose.splitlines() if not line.startswith("|")) <= 120
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
        other = page.parent / target if target else page
        assert other.exists(), f"{target} in {page.name}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor} in {page.name}"


def test_every_page_is_on_the_map():
    text = (ROOT / "docs" / "index.md").read_text()
    assert [page.name for page in PAGES if page.name != "index.md" and f"({page.name}" not in text] == []


def test_the_tables_of_benchmarks_are_those_of_their_results():
    script = Path(document_settings.__file__).parents[1] / "benchmarks" / "report.py"
    found = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
