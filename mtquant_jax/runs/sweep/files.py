"""What a sweep leaves in its folder besides its study: a table of trials, learning curves and the best settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.yaml_files import to_yaml
from mtquant_jax.storage.files import replacing

TRIALS, CURVES, BEST = "trials.parquet", "curves.parquet", "best.yaml"


def write_tables(result: SweepResult, config: TrainConfig, folder: Path) -> None:
    """Write the trials, their learning curves and, where one is complete, the settings of the best.

    Args:
        result: of the sweep.
        config: the settings that all trials share; phases and run directory are not handed on.
        folder: of the sweep.

    Raises:
        UserError: a file cannot be written.
    """
    usual = TrainConfig()
    try:
        for name, frame in ((TRIALS, result.to_frame()), (CURVES, result.curves())):
            with replacing(folder / name) as temporary:
                frame.to_parquet(temporary, index=False)
        if result.best is not None:
            settings = result.space.settings(result.best.trial.values)
            best = with_values(
                config, {**settings, "trials": len(result.finished)}, f"trial {result.best.trial.number}"
            )
            best = dataclasses.replace(best, phases=usual.phases, run_dir=usual.run_dir)
            with replacing(folder / BEST) as temporary:
                temporary.write_text(f"{_heading(result)}{to_yaml(best)}", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None


def _heading(result: SweepResult) -> str:
    """Where the settings come from, as comments."""
    best = result.best
    assert best is not None
    values = "; ".join(f"{name} {value}" for name, value in best.trial.values.items())
    return (
        f"# Best of {len(result.finished)} trials of the sweep {result.name}, by {result.objective} on the validation\n"
        f"# split ({best.result.value:.4g}, trial {best.trial.number}): {values}\n"
    )
