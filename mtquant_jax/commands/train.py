"""Trains the three phases and writes what a run leaves on disk."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Literal

from mtquant_jax import processes
from mtquant_jax.errors import UserError
from mtquant_jax.jax_setup import device, prepare_jax
from mtquant_jax.settings.layers import WithSettings, load_command
from mtquant_jax.storage.recorder import DETAIL, Output
from mtquant_jax.version import __version__


@dataclasses.dataclass(frozen=True)
class TrainCommand(WithSettings):
    """Train a hierarchy of trading agents: specialists, then a meta-controller, then all of them together.

    A flag wins over the YAML file, the YAML file over the shipped configs/agents.yaml.
    """

    overwrite: bool = False
    """Replace the training that --run-dir holds, its models, results and evaluation."""
    quiet: bool = False
    """Print warnings and errors alone."""
    verbose: bool = False
    """Print a line for every chunk instead of a table (in a terminal) or of a line per checkpoint (elsewhere)."""
    log_format: Literal["text", "json"] = "text"
    """Json: print a JSON object per line, with all metrics of a chunk."""
    resume: bool = False
    """Go on with the training that --run-dir holds, with its settings, from its newest checkpoints."""
    coordinator: str = ""
    """Host and port of process 0, as node1:1234, where several processes train together; empty: SLURM says it."""
    num_processes: int = 0
    """Processes that train together; 0: the tasks of the SLURM step, or this one alone."""
    process_id: int = -1
    """Which of them this is, from 0 on; process 0 writes and prints. -1: SLURM says it."""

    def output(self) -> Output:
        """What is printed.

        Raises:
            UserError: both of --quiet and --verbose.
        """
        if self.quiet and self.verbose:
            raise UserError("--quiet prints less and --verbose prints more; give one of them")
        level = logging.WARNING if self.quiet else DETAIL if self.verbose else logging.INFO
        return Output(level, self.log_format == "json", live=not self.verbose)


def run(arguments: Sequence[str], prog: str, phases: str | None = None) -> None:
    """Train and write; `phases` is what --phases is when no flag gives it, None leaves it to the YAML file.

    Raises:
        UserError: whatever is wrong with the settings or the data, before anything is written.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, source = load_command(TrainCommand, arguments, prog, phases)
    output, devices = command.output(), command.settings.devices
    prepare_jax(devices)
    with processes.joined(command.coordinator, command.num_processes, command.process_id, devices):
        # The market takes seconds.
        if output.level <= logging.INFO and not output.as_json and processes.is_first():
            print(f"mtquant-jax {__version__} on {device()}, settings from {source}", flush=True)
        from mtquant_jax.market.traded import with_symbols
        from mtquant_jax.runs import train
        from mtquant_jax.runs.memory import memory_advice

        config = with_symbols(command.settings)
        with memory_advice(config):
            train.run(config, config_source=source, output=output, overwrite=command.overwrite, resume=command.resume)
