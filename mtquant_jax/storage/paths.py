"""Paths of the files of a run."""

from __future__ import annotations

import dataclasses
import functools
import re
from datetime import datetime
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class RunPaths:
    """Absolute paths of the files of a run."""

    run_dir: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_dir", Path(self.run_dir).absolute())

    @functools.cached_property
    def log_dir(self) -> Path:
        """Folder of the log, the results and the summary."""
        return self.run_dir / "logs" / "e2e_training"

    def log_file(self, start: datetime) -> Path:
        """Log of the run that began at `start`."""
        return self.log_dir / f"e2e_training_{start:%Y%m%d_%H%M%S}.log"

    def phase_results(self, phase: int) -> Path:
        """Results of a phase, JSON."""
        return self.log_dir / f"phase{phase}_results.json"

    @property
    def run_record(self) -> Path:
        """What the run says of itself while it is trained, JSON."""
        return self.log_dir / "run.json"

    @property
    def tags(self) -> Path:
        """Names that the user gave the run, JSON."""
        return self.log_dir / "tags.json"

    @property
    def training_summary(self) -> Path:
        """Summary of the whole run, JSON."""
        return self.log_dir / "training_summary.json"

    @property
    def resolved_config(self) -> Path:
        """Settings of the run, YAML."""
        return self.log_dir / "resolved_config.yaml"

    @property
    def bars(self) -> Path:
        """Folder of the bars that the run was given in Python, if it was."""
        return self.run_dir / "bars"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard events."""
        return self.run_dir / "logs" / "tensorboard"

    @property
    def specialist_bundles(self) -> Path:
        """Folder of the specialists' models."""
        return self.run_dir / "models" / "specialists"

    def specialist_bundle(self, name: str) -> Path:
        """Model of the specialist for the asset class `name`, zip."""
        return self.specialist_bundles / f"{name}_specialist.zip"

    @property
    def meta_bundle(self) -> Path:
        """Model of the meta-controller, zip."""
        return self.run_dir / "models" / "meta_controller" / "meta_controller.zip"

    def checkpoints(self, phase: int) -> Path:
        """Folder of a phase's checkpoints."""
        return self.run_dir / "models" / "checkpoints" / f"phase{phase}"

    def checkpoint(self, phase: int, timesteps: int) -> Path:
        """Orbax checkpoint of a phase after `timesteps` decisions, a folder."""
        return self.checkpoints(phase) / f"checkpoint_{timesteps}"

    def metrics_csv(self, phase: int) -> Path:
        """Metrics of a phase, one row per chunk."""
        return self.run_dir / "metrics" / "training" / f"phase{phase}_metrics.csv"


def evaluation_dir(paths: RunPaths) -> Path:
    """Folder of the evaluation of a run."""
    return paths.run_dir / "evaluation"


def saved_timesteps(paths: RunPaths, phase: int) -> list[int]:
    """Timesteps after which a phase has checkpoints, in order."""
    folders = paths.checkpoints(phase).glob("checkpoint_*")
    found = (re.fullmatch(r"checkpoint_(\d+)", folder.name) for folder in folders)
    return sorted(int(match[1]) for match in found if match)
