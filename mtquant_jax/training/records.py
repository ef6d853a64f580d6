"""Turns what happens in a training into the files that a run leaves: logs, metrics, JSON, TensorBoard."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tensorboardX import SummaryWriter

from mtquant_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunPaths:
    """Where a run's files lie; every path is absolute."""

    run_dir: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_dir", Path(self.run_dir).absolute())

    @property
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
    def training_summary(self) -> Path:
        """Summary of the whole run, JSON."""
        return self.log_dir / "training_summary.json"

    @property
    def resolved_config(self) -> Path:
        """The settings that the run used, YAML."""
        return self.log_dir / "resolved_config.yaml"

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


class RunRecorder:
    """Writes a run's log, metrics and results while the ``with`` block lasts.

    Lines go to the log file with time and level, and to standard output as they are; of a ``quiet`` one only warnings.
    """

    def __init__(self, paths: RunPaths, start: datetime, quiet: bool = False) -> None:
        self._quiet = quiet
        self.paths = paths
        self.start = start
        # Not from logging.getLogger: nothing of this run may stay behind in the process.
        self._logger = logging.Logger("mtquant_jax.run", logging.INFO)
        self._resources = ExitStack()
        self._tables: dict[int, _MetricsTable] = {}

    def __enter__(self) -> RunRecorder:
        try:
            self.paths.log_dir.mkdir(parents=True, exist_ok=True)
            to_file = logging.FileHandler(self.paths.log_file(self.start), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--run-dir {self.paths.run_dir} cannot be written: {error.strerror}") from None
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        to_console = logging.StreamHandler(sys.stdout)
        to_console.setFormatter(_ConsoleFormatter())
        to_console.setLevel(logging.WARNING if self._quiet else logging.INFO)
        for handler in (to_file, to_console):
            self._logger.addHandler(handler)
            self._resources.callback(handler.close)
            self._resources.callback(self._logger.removeHandler, handler)
        self._to_console = to_console
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._logger.removeHandler(self._to_console)  # whoever started the run shows the error there
            expected = isinstance(error, (UserError, KeyboardInterrupt))
            self._logger.error("%s", str(error) or type(error).__name__, exc_info=None if expected else error)
        self._resources.close()

    def info(self, text: str) -> None:
        """Write a line."""
        self._logger.info("%s", text)

    def warning(self, text: str) -> None:
        """Write a line that deserves attention."""
        self._logger.warning("%s", text)

    def metrics(self, phase: int, agent: str, timesteps: int, row: Mapping[str, Any]) -> None:
        """Append one row to a phase's metrics file and to TensorBoard.

        The first row of a phase in this run starts the file afresh and fixes its columns; a later row may lack some
        (empty cells). NaN and None are empty cells; TensorBoard gets finite numbers only.

        Args:
            phase: 1, 2 or 3.
            agent: name of the agent that the row is about.
            timesteps: decisions taken in training so far.
            row: numbers by name; Python, NumPy or JAX scalars.

        Raises:
            ValueError: a name that the first row did not have.
        """
        numbers = {name: None if value is None else _number(value) for name, value in row.items()}
        if phase not in self._tables:
            self._tables[phase] = self._resources.enter_context(
                _MetricsTable.opened(self.paths.metrics_csv(phase), ["agent", "timesteps", *numbers])
            )
        self._tables[phase].append({"agent": agent, "timesteps": int(timesteps), **numbers})
        for name, number in numbers.items():
            if number is not None and math.isfinite(number):
                self._tensorboard.add_scalar(f"phase{phase}/{agent}/{name}", number, int(timesteps))

    @cached_property
    def _tensorboard(self) -> SummaryWriter:
        # A folder per run, so that curves of several runs in one directory stay apart.
        folder = self.paths.tensorboard / f"{self.start:%Y%m%d_%H%M%S}"
        writer = SummaryWriter(logdir=str(folder), flush_secs=10)
        self._resources.callback(writer.close)
        return writer


class _ConsoleFormatter(logging.Formatter):
    """The message alone; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        return message if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {message}"


class _MetricsTable:
    """A CSV file with fixed columns, flushed row by row, so that a run can be watched."""

    def __init__(self, stream: TextIO, columns: list[str]) -> None:
        self._stream = stream
        self._writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        self._writer.writeheader()

    @classmethod
    @contextmanager
    def opened(cls, path: Path, columns: list[str]) -> Iterator[_MetricsTable]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield cls(stream, columns)

    def append(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({name: _cell(value) for name, value in row.items()})
        self._stream.flush()


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON; the file appears under its name only when it is whole.

    NumPy and JAX values become numbers and lists, dataclasses objects, paths and times text; numbers that are not
    finite, which JSON cannot hold, become null.
    """
    text = json_text(content)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(content: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        what: begins the message where it cannot be read, such as ``phase 2 needs the results of phase 1``.

    Raises:
        UserError: the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        reason = "there is no" if isinstance(error, FileNotFoundError) else f"cannot read ({error.strerror})"
        raise UserError(f"{what}: {reason} {path}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{what}: {path} line {error.lineno} is not JSON ({error.msg})") from None
    except ValueError as error:
        raise UserError(f"{what}: {path} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} is not a JSON object")
    return content


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path` that takes its name when the block ends well and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """`value` in the types that JSON has."""
    if hasattr(value, "tolist"):  # NumPy and JAX, scalars and arrays
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def _number(value: Any) -> float | int:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return plain if isinstance(plain, int) else float(plain)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value  # nine digits hold a float32 exactly


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
