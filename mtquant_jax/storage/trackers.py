"""Experiment trackers that get a copy of a run's settings, metrics and results: MLflow and Weights & Biases."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mtquant_jax.errors import UserError

_PROJECT = "mtquant-jax"
_IN_A_BATCH = 100  # parameters that MLflow takes at once; of metrics it takes more
_LONGEST = 6000  # characters of a parameter of MLflow


class Tracker(Protocol):
    """What a run is reported to besides its own files."""

    def metrics(self, phase: int, agent: str, timesteps: int, row: Mapping[str, float]) -> None:
        """Finite numbers of an agent by name, after so many timesteps."""
        ...

    def results(self, numbers: Mapping[str, float]) -> None:
        """What came of the training, by name."""
        ...

    def close(self, finished: bool) -> None:
        """End; whether the training was not stopped and did not fail."""
        ...


def open_tracker(kind: str, run_dir: Path, run_id: str, settings: Mapping[str, Any]) -> Tracker:
    """The tracker that the setting ``tracker`` names.

    Both write on this machine alone unless their own environment variables say otherwise: ``MLFLOW_TRACKING_URI``, and
    ``WANDB_MODE=online``.

    Args:
        kind: ``mlflow`` or ``wandb``.
        run_dir: of the run, whose last name the tracker shows.
        run_id: of the run.
        settings: by dotted key.

    Raises:
        UserError: its package is not installed, or it cannot be opened.
    """
    kinds: dict[str, Callable[[Path, str, Mapping[str, Any]], Tracker]] = {"mlflow": _MLflow, "wandb": _WandB}
    try:
        return kinds[kind](run_dir, run_id, settings)
    except ImportError:
        package = {"mlflow": "mlflow-skinny"}.get(kind, kind)
        raise UserError(
            f"`tracker` {kind} needs the package {package}, which is not installed; pip install {package} (the extra "
            f"{kind})"
        ) from None
    except Exception as error:  # of their servers, files and drivers
        raise UserError(f"`tracker` {kind} cannot be opened: {' '.join(str(error).split()):.300}") from None


class _MLflow:
    """An MLflow run of the experiment mtquant-jax; the folder mlruns where no other place is named."""

    def __init__(self, run_dir: Path, run_id: str, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # of the folder mlruns
        tracking, entities = importlib.import_module("mlflow.tracking"), importlib.import_module("mlflow.entities")
        self._metric = entities.Metric
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"file:{Path.cwd() / 'mlruns'}"
        self._client = tracking.MlflowClient(tracking_uri=place)
        there = self._client.get_experiment_by_name(_PROJECT)
        experiment = there.experiment_id if there else self._client.create_experiment(_PROJECT)
        tags = {"run_dir": str(run_dir), "run_id": run_id}
        self._run: str = self._client.create_run(experiment, run_name=run_dir.name, tags=tags).info.run_id
        params = [entities.Param(key, str(value)[:_LONGEST]) for key, value in settings.items()]
        for start in range(0, len(params), _IN_A_BATCH):
            self._client.log_batch(self._run, params=params[start : start + _IN_A_BATCH])

    def metrics(self, phase: int, agent: str, timesteps: int, row: Mapping[str, float]) -> None:
        self._log({f"phase{phase}/{agent}/{name}": number for name, number in row.items()}, timesteps)

    def results(self, numbers: Mapping[str, float]) -> None:
        self._log({f"results/{name}": number for name, number in numbers.items()}, 0)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(name, number, now, step) for name, number in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)


class _WandB:
    """A run of Weights & Biases; offline where nothing else is asked for."""

    def __init__(self, run_dir: Path, run_id: str, settings: Mapping[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run_dir.name,
            dir=str(run_dir),
            config={**settings, "run_id": run_id},
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._steps: set[str] = set()

    def metrics(self, phase: int, agent: str, timesteps: int, row: Mapping[str, float]) -> None:
        start = f"phase{phase}/{agent}"
        if start not in self._steps:
            self._run.define_metric(f"{start}/*", step_metric=f"{start}/timesteps")
            self._steps.add(start)
        self._run.log({f"{start}/{name}": number for name, number in row.items()} | {f"{start}/timesteps": timesteps})

    def results(self, numbers: Mapping[str, float]) -> None:
        self._run.summary.update({f"results/{name}": number for name, number in numbers.items()})

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


def finite(row: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    """The numbers of a row that trackers take."""
    return ((name, number) for name, number in row.items() if number is not None and math.isfinite(number))
