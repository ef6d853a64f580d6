"""Writes the tables of docs/performance.md and the README from result files, so that no figure is typed by hand.

    python benchmarks/report.py [--check]

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``. Only result files that are there are read; a table whose
file is missing is refused.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")
_BLOCK = re.compile(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Write the tables of docs/performance.md and the README."""

    check: bool = False
    """Change nothing; exit with 1 if a table is not that of its results."""


def main(arguments: Arguments) -> int:
    """Write, or compare."""
    stale = []
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        found = with_tables(page, "../" * (len(path.relative_to(ROOT).parts) - 1))
        if found != page and arguments.check:
            stale.append(str(path.relative_to(ROOT)))
        elif found != page:
            path.write_text(found, encoding="utf-8")
    if stale:
        print(
            f"not made from the current results: {', '.join(stale)}; run python benchmarks/report.py", file=sys.stderr
        )
    return int(bool(stale))


def with_tables(page: str, root: str) -> str:
    """A page with all of its tables made anew; ``root`` leads from it to the root of the repository."""
    return _BLOCK.sub(lambda match: f"<!-- {match[1]} -->\n{TABLES[match[1]](root)}\n<!-- end -->", page)


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _range(values: dict[str, Any], form: str) -> str:
    """Median and extremes of repeated measurements."""
    return f"{values['median']:{form}} ({values['lowest']:{form}} to {values['highest']:{form}})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _source(content: dict[str, Any], name: str, root: str) -> str:
    machine = content["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['device'].split(':')[0].upper()}"
    return f"\n\n[{name}.json]({root}benchmarks/results/{name}.json)\n({where}, {content['measured'][:10]})."


def ppo_pairs(root: str) -> str:
    """PPO beside rejax, by environment and size."""
    files = {name: _read(name) for name in ("ppo_throughput", "ppo_throughput_forex")}
    rows = []
    for row in (row for content in files.values() for row in content["rows"]):
        ours = _range(row["ours"]["rate"], ",.0f")
        theirs = _range(row["rejax"]["rate"], ",.0f") if "rejax" in row else ""
        ratio = f"**{_range(row['ratio'], '.2f')}**" if "ratio" in row else ""
        rows.append([row["env"], row["size"].replace("x", " x "), ours, theirs, ratio])
    head = [
        "environment",
        "environments x steps",
        "timesteps a second",
        "rejax 0.1.3",
        "ratio, pair by pair",
    ]
    return _table(head, rows) + "".join(_source(content, name, root) for name, content in files.items())


def sb3_pairs(root: str) -> str:
    """PPO beside that of stable-baselines3."""
    content = _read("ppo_throughput_sb3")
    rows = []
    for row in content["rows"]:
        rates = [_range(row[who]["rate"], ",.0f") for who in ("ours", "sb3")]
        rows.append([row["env"], row["size"].replace("x", " x "), *rates, f"**{_range(row['ratio'], '.1f')}**"])
    head = ["environment", "environments x steps", "timesteps a second", "stable-baselines3", "ratio, pair by pair"]
    return _table(head, rows) + _source(content, "ppo_throughput_sb3", root)


def scaling(root: str) -> str:
    """A specialist's training by its sizes."""
    content = _read("scaling")
    rows = [
        [row["what"], f"{row['size']:,}", _range(row["rate"], ",.0f"), f"{row['peak_bytes'] / 2**30:.1f}"]
        for row in content["rows"]
    ]
    head = ["what is changed", "to", "timesteps a second", "peak of memory, GiB"]
    return _table(head, rows) + _source(content, "scaling", root)


def pipeline(root: str) -> str:
    """Whole trainings from process start to end."""
    content = _read("pipeline")
    names = {
        "default": "default training",
        "quick_test": "`--quick-test`",
        "default_on_bars": "default training on bars",
    }
    rows = [
        [names[kind], *(_range(found[f"{state}_seconds"], ".0f") for state in ("cold", "warm"))]
        for kind, found in content["figures"].items()
    ]
    return _table(["", "first run, s", "next run, s"], rows) + _source(content, "pipeline", root)


def environment(root: str) -> str:
    """Steps of the environments alone."""
    content = _read("environment")
    rows = [
        [row["environment"], f"{row['num_envs']:,}", _range(row["bars_per_second"], ",.0f")]
        for row in content["settings"]
    ]
    return _table(["environment", "in parallel", "bars a second"], rows) + _source(content, "environment", root)


def learners(root: str) -> str:
    """Both learners in every phase."""
    content = _read("pathwise_throughput")
    rows = []
    for row in content["rows"]:
        rates = [_range(row[name]["rate"], ",.0f") for name in ("ppo", "pathwise")]
        rows.append([row["phase"], *rates, _range(row["pathwise_to_ppo"], ".2f")])
    return _table(["", "`ppo`", "`pathwise`", "ratio, chunk by chunk"], rows) + _source(
        content, "pathwise_throughput", root
    )


TABLES: dict[str, Callable[[str], str]] = {
    "ppo-pairs": ppo_pairs,
    "baselines-pairs": sb3_pairs,
    "scaling": scaling,
    "learners": learners,
    "pipeline": pipeline,
    "environment": environment,
}


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
