"""Prints what lies at a path: a training, a walk-forward, a checkpoint or a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True)
class InfoCommand:
    """Print what a run directory, a checkpoint or a model is, how far it has come, and how to go on with it."""

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH")] = "."
    """Run directory of a training or a walk-forward, folder of a checkpoint, or model zip."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print all of it as JSON."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Read and print.

    Raises:
        UserError: there is nothing at the path, something else, or something damaged.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(InfoCommand, arguments, prog)
    from mtquant_jax.runs.inspection import inspect

    found = inspect(Path(command.path))
    if command.json:
        from mtquant_jax.storage.files import json_text

        print(json_text(found.to_json()), end="")
        return
    from mtquant_jax.reports.inspection import lines

    for line in lines(found):
        print(line)
