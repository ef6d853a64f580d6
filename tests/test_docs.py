"""The documentation: every setting is in it with its type, range and default, links lead somewhere, lines are short."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtquant_jax.commands.compare import CompareCommand
from mtquant_jax.commands.evaluate import EvaluateCommand
from mtquant_jax.commands.walk_forward import WalkForwardCommand
from mtquant_jax.market.features import FEATURE_NAMES
from mtquant_jax.settings.checks import _RANGES
from mtquant_jax.settings.config import SpecialistConfig, TrainConfig
from mtquant_jax.settings.yaml_files import apply, read_yaml, shipped

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TYPES = {int: "whole number", float: "number", bool: "true/false", str: "text"}


def settings(group: Any, values: Any, prefix: str) -> dict[str, tuple[str, str]]:
    """Dotted key -> type with range, and default, as the page writes them."""
    found: dict[str, tuple[str, str]] = {}
    for name, hint in typing.get_type_hints(group).items():
        if dataclasses.is_dataclass(hint):
            found |= settings(hint, getattr(values, name), f"{prefix}{name}.")
        elif typing.get_origin(hint) is dict:
            found |= settings(SpecialistConfig, SpecialistConfig(), f"{prefix}{name}.NAME.")
        else:
            choices = "list" if typing.get_origin(hint) is tuple else " / ".join(map(str, typing.get_args(hint)))
            kind = TYPES.get(hint, choices)
            limits = _RANGES.get(prefix + name, "(0, inf)" if (prefix, hint) == ("specialists.NAME.", float) else "")
            found[prefix + name] = (f"{kind} {limits}".strip(), shown(getattr(values, name)))
    return found


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else "" if value in ("", ()) else str(value)


def documented() -> dict[str, tuple[str, str]]:
    """The tables of configuration.md."""
    found: dict[str, tuple[str, str]] = {}
    prefix = ""
    for line in (ROOT / "docs" / "configuration.md").read_text().splitlines():
        if line.startswith("### "):
            prefix = "" if line == "### Top level" else line.removeprefix("### ") + "."
        elif line.startswith("| `"):
            key, kind, default, _, meaning, compiles = (cell.strip() for cell in line.strip("|").split("|"))
            assert meaning and re.fullmatch(r"-|[123m]( [123m])*", compiles), line
            found[prefix + key.strip("`")] = (kind, default)
    return found


def test_the_page_has_every_setting_with_its_type_range_and_default():
    origin = shipped("agents.yaml")
    assert documented() == settings(TrainConfig, apply(TrainConfig(), read_yaml(origin), str(origin)), "")


def test_the_shipped_file_and_the_code_have_the_same_defaults():
    origin = shipped("agents.yaml")
    config = apply(TrainConfig(), read_yaml(origin), str(origin))
    assert dataclasses.replace(config, specialists={}) == TrainConfig()


def test_examples_in_yaml_are_valid():
    text = (ROOT / "docs" / "configuration.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert apply(TrainConfig(), yaml.safe_load(example), "example").specialists


def test_flags_in_the_pages_exist():
    known = {"--" + key.replace("_", "-").replace("NAME", name) for key in documented() for name in ("forex", "equity")}
    known |= {flag.replace(".forex.", ".commodities.") for flag in known}
    known |= {"--config", "--help", "--version", "--logdir", "--output"}
    known |= {
        "--rejax-python",
        "--sb3-python",
        "--keep",
        "--markets",
        "--name",
        "--only",
        "--cases",
        "--specialists-only",
    }
    known |= {"--seeds", "--first-seed", "--settings"}  # of benchmarks
    for command in (EvaluateCommand, WalkForwardCommand, CompareCommand):
        known |= {"--" + field.name.replace("_", "-") for field in dataclasses.fields(command)}
    known |= {flag.replace(".project-", ".no-project-") for flag in known}  # how a true/false is switched off
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
