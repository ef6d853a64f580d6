"""The house: every import inside the package points down, and no two modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "mtquant_jax"

GROUND = ("errors", "types", "time_zones", "jax_setup", "processes", "program_cache", "whole_programs", "version")
ROOMS = (
    "ground",
    "statistics",
    "storage",
    "settings",
    "market",
    "simulation",
    "agents",
    "learning",
    "backtest",
    "reference",
    "training",
    "runs",
    "evaluation",
    "deploy",
    "reports",
    "api",
    "commands",
    "cli",
    "__main__",
)
"""From the ground up: a room imports those before it."""

FORBIDDEN = {
    "learning": {"market", "settings", "storage"},  # a learner trains any environment and knows no files
    "training": {"storage"},  # files are wrapped around it
    "statistics": {"ground"},  # NumPy alone, but for errors
}
"""Downward imports that a room does without all the same."""


def imports_of(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, also inside functions and for type checkers alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "mtquant_jax")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mtquant_jax":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    name = module.split(".")[1]
    return "ground" if name in GROUND else name


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}
GRAPH = {name: set(imports_of(path)) - {name} for name, path in MODULES.items()}


def test_every_room_is_known() -> None:
    rooms = {room_of(name) for name in MODULES if name != "mtquant_jax"}
    assert rooms <= set(ROOMS)


def test_imports_point_down() -> None:
    upward = [
        f"{name} imports {found}"
        for name, imported in GRAPH.items()
        for found in imported
        if "mtquant_jax" not in (name, found) and ROOMS.index(room_of(found)) > ROOMS.index(room_of(name))
    ]
    assert not upward, "\n".join(sorted(upward))


def test_there_is_no_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_rooms_do_without_what_is_not_theirs() -> None:
    allowed = {"mtquant_jax.errors"}
    found = [
        f"{name} imports {other}"
        for name, imported in GRAPH.items()
        for other in imported - allowed
        if "mtquant_jax" not in (name, other) and room_of(other) in FORBIDDEN.get(room_of(name), set())
    ]
    assert not found, "\n".join(sorted(found))


def test_the_walk_sees_a_planted_circle(tmp_path: Path) -> None:
    inside = tmp_path / "one.py"
    inside.write_text("def f():\n    from mtquant_jax.settings import config\n    import mtquant_jax.cli\n")
    assert set(imports_of(inside)) == {"mtquant_jax.settings.config", "mtquant_jax.cli"}
