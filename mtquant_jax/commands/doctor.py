"""Prints what a training would run on, and whether it would run well."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Sequence

from mtquant_jax.errors import with_flags
from mtquant_jax.settings.flags import parsed

PROBLEM = 1
"""Exit code where something would stop a training."""

_INDENT = " " * 26


@dataclasses.dataclass(frozen=True)
class DoctorCommand:
    """Look at Python, packages, devices, memory, cache and terminal, and train for a few seconds.

    Every line is ok, a warning or a problem. Exit code 1 with a problem.
    """


def run(arguments: Sequence[str], prog: str) -> int:
    """Look and print; 1 where there is a problem.

    Raises:
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    parsed(DoctorCommand, arguments, prog)
    from mtquant_jax.runs.installation import findings

    width = max(shutil.get_terminal_size().columns, 60)
    counts = {"ok": 0, "warning": 0, "problem": 0}
    for found in findings():
        counts[found.state] += 1
        head = f"{found.state:<9}{found.what:<17}"
        text = with_flags(f"{found.text}; {found.advice}" if found.advice else found.text)
        lines = textwrap.wrap(text, width - len(_INDENT), break_long_words=False, break_on_hyphens=False)
        _print("\n".join([head + lines[0], *(_INDENT + line for line in lines[1:])]))
    problems, warnings = (f"{n} {name}{'s' * (n != 1)}" for name in ("problem", "warning") for n in [counts[name]])
    _print(f"{sum(counts.values())} checks: {problems}, {warnings}")
    return PROBLEM if counts["problem"] else 0


def _print(text: str) -> None:
    """Print on a terminal that may not show all of it."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)
