"""Turns the events of a training into the log, the metrics files and the TensorBoard events of a run."""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.storage.background import Background
from mtquant_jax.storage.files import json_line, replacing
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.trackers import Tracker, finite

if TYPE_CHECKING:
    import numpy as np
    from tensorboardX import SummaryWriter

    from mtquant_jax.statistics.histograms import Histogram

DETAIL = logging.INFO - 5
"""Level of lines that the log has, and standard output where it is asked for everything."""

_FILE_ONLY, _SHOWN_ONLY, _EVENT, _TO_DO = "file_only", "shown_only", "event", "to_do"
_KEYS = ["agent", "timesteps"]  # first columns of a metrics file


@dataclasses.dataclass(frozen=True)
class Output:
    """What a training prints."""

    level: int = logging.INFO  # lines from this level on
    as_json: bool = False  # a JSON object per line
    live: bool = False  # a table that is drawn over itself, where standard output is a terminal


class RunRecorder:
    """Writes the log and the metrics of a run inside a ``with`` block.

    The log file gets every line with time and level; standard output gets the text alone, from a level on. Settings in
    backticks become flags, as everywhere on the command line.
    """

    def __init__(
        self,
        paths: RunPaths,
        start: datetime,
        console: int = logging.INFO,
        as_json: bool = False,
        show: Callable[[str], None] | None = None,
    ) -> None:
        """Where lines go.

        Args:
            paths: of the run.
            start: of the process, local time.
            console: level from which standard output gets lines, such as `logging.WARNING`.
            as_json: whether standard output gets a JSON object per line: ``time``, ``level``, ``message`` and what else
                is known of an event.
            show: prints a line in the place of standard output; of chunks only the last of an agent.
        """
        self._console, self._as_json, self._show = console, as_json, show
        self.paths = paths
        self.start = start
        # Not from logging.getLogger, so that no handler outlives the run in this process.
        self._logger = logging.Logger("mtquant_jax.run", DETAIL)
        self._resources = ExitStack()
        self._tables: dict[int, _MetricsTable] = {}
        self._curves: dict[tuple[int, str], SummaryWriter] = {}
        self._settings = ""
        self._tracker: Tracker | None = None
        self._continued: dict[int, list[str]] = {}  # phase -> columns of the file of an earlier process
        self._drawing = Background("images")

    def __enter__(self) -> RunRecorder:
        try:
            self.paths.log_dir.mkdir(parents=True, exist_ok=True)
            to_file = logging.FileHandler(self.paths.log_file(self.start), encoding="utf-8")
        except OSError as error:
            raise UserError(f"`run_dir` {self.paths.run_dir} cannot be written: {error.strerror}") from None
        to_file.setFormatter(_FileFormatter("%(asctime)s %(levelname)-7s %(message)s"))
        to_file.addFilter(lambda record: not hasattr(record, _SHOWN_ONLY))
        to_console = _Console(sys.stdout) if self._show is None else _Shown(self._show)
        to_console.setFormatter(_JsonFormatter() if self._as_json else _ConsoleFormatter())
        to_console.addFilter(lambda record: not hasattr(record, _FILE_ONLY))
        to_console.setLevel(self._console)
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
            self._logger.removeHandler(self._to_console)  # the caller prints the error
            expected = isinstance(error, (UserError, KeyboardInterrupt))
            text = with_flags(str(error)) if expected else str(error)
            self._logger.error("%s", text or type(error).__name__, exc_info=None if expected else error)
        try:
            self._drawing.close()  # waits
            if self._tracker is not None:
                self._tracker.close(finished=error is None)
            if error is None:
                self._drawing.wait()
        finally:
            self._resources.close()

    def note(self, text: str, level: int = logging.INFO) -> None:
        """Write a line to the log file alone."""
        self._logger.log(level, "%s", with_flags(text), extra={_FILE_ONLY: True})

    def info(self, text: str, event: Mapping[str, Any] | None = None) -> None:
        """Write a line; ``event`` is what a program is told of it."""
        self._logger.info("%s", with_flags(text), extra={_EVENT: event or {}})

    def detail(self, text: str, event: Mapping[str, Any] | None = None) -> None:
        """Write a line that standard output gets where it is asked for everything."""
        self._logger.log(DETAIL, "%s", with_flags(text), extra={_EVENT: event or {}})

    def warning(
        self, text: str, to_do: str = "", event: Mapping[str, Any] | None = None, shown_only: bool = False
    ) -> None:
        """Write a warning.

        Args:
            text: what happened.
            to_do: what to do, which standard output gets as a second line.
            event: what a program is told of it.
            shown_only: whether the log file has it in other words.
        """
        extra = {_EVENT: event or {}, _TO_DO: with_flags(to_do)} | ({_SHOWN_ONLY: True} if shown_only else {})
        self._logger.warning("%s", with_flags(text), extra=extra)

    def keep_metrics(self, phase: int, agent: str, timesteps: int) -> None:
        """Go on with the metrics file of an earlier process: rows of an agent up to ``timesteps`` stay.

        A row that the process was killed in the middle of goes as well.
        """
        if (table := self._tables.pop(phase, None)) is not None:
            table.close()
        path = self.paths.metrics_csv(phase)
        if not path.is_file():
            return
        try:
            with path.open(encoding="utf-8", newline="", errors="replace") as stream:
                header, *rows = [*csv.reader(stream)] or [[]]
        except (OSError, csv.Error) as error:
            raise UserError(f"{path} cannot be read ({error}); move it away to go on without it") from None
        if header[:2] != _KEYS:
            path.unlink()
            return
        self._continued[phase] = header
        whole = [row for row in rows if len(row) == len(header) and row[1].isdecimal()]
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(row for row in whole if row[0] != agent or int(row[1]) <= timesteps)

    def metrics(self, phase: int, agent: str, timesteps: int, row: Mapping[str, Any]) -> None:
        """Append one row to a phase's metrics file and to TensorBoard.

        The first row of a phase in this run overwrites the file and fixes its columns; columns that a later row lacks
        are empty cells. NaN and None are empty cells; TensorBoard receives finite numbers only.

        Args:
            phase: 1, 2 or 3.
            agent: name of the agent that the row describes.
            timesteps: decisions taken in training so far.
            row: numbers by name; Python, NumPy or JAX scalars.

        Raises:
            ValueError: the row has a name that the first row lacks.
        """
        numbers = {name: None if value is None else _number(value) for name, value in row.items()}
        if phase not in self._tables:
            table = _MetricsTable(self.paths.metrics_csv(phase), [*_KEYS, *numbers], self._continued.get(phase))
            self._tables[phase] = table
            self._resources.callback(table.close)
        self._tables[phase].append({"agent": agent, "timesteps": int(timesteps), **numbers})
        self.closing(phase, agent, timesteps, numbers)

    def closing(self, phase: int, agent: str, timesteps: int, numbers: Mapping[str, Any]) -> None:
        """Numbers that a training has once, at its end, for TensorBoard and the tracker; arguments as `metrics`."""
        shown = dict(finite(numbers))
        for name, number in shown.items():
            self._tensorboard(phase, agent).add_scalar(f"{_group(name)}/{name}", number, int(timesteps))
        if self._tracker is not None:
            self._tracker.metrics(phase, agent, int(timesteps), shown)

    def report_to(self, tracker: Tracker) -> None:
        """Give every row of metrics to a tracker as well, and close it at the end of the ``with`` block."""
        self._tracker = tracker

    def results(self, numbers: Mapping[str, Any]) -> None:
        """Tell the tracker, where there is one, what came of the training."""
        if self._tracker is not None:
            self._tracker.results(dict(finite(numbers)))

    def histogram(self, phase: int, agent: str, timesteps: int, name: str, spread: Histogram) -> None:
        """Show in TensorBoard how a number spread over the bars of a validation."""
        count = float(spread.counts.sum())
        self._tensorboard(phase, agent).add_histogram_raw(
            f"{_group(name)}/{name}",
            min=spread.least,
            max=1.0,
            num=count,
            sum=count * spread.mean,
            sum_squares=count * (spread.mean**2 + spread.standard_deviation**2),
            bucket_limits=spread.edges[1:].tolist(),
            bucket_counts=spread.counts.tolist(),
            global_step=int(timesteps),
        )

    def image(self, phase: int, agent: str, timesteps: int, name: str, draw: Callable[[], np.ndarray]) -> None:
        """Show an image in TensorBoard, drawn in the background; an error of that is raised by a later call.

        Args:
            phase: 1, 2 or 3.
            agent: name of the agent.
            timesteps: decisions taken in training so far.
            name: of the image.
            draw: gives pixels ``[height, width, 3]`` uint8; images are drawn one after the other.
        """
        writer, tag = self._tensorboard(phase, agent), f"{_group(name)}/{name}"

        def show() -> None:
            writer.add_image(tag, draw(), int(timesteps), dataformats="HWC")

        self._drawing.do(show)

    def settings(self, text: str) -> None:
        """Show the settings of the run, YAML, beside its curves."""
        self._settings = f"```\n{text}\n```"

    def _tensorboard(self, phase: int, agent: str) -> SummaryWriter:
        """Where the curves of an agent go: every agent is a run, so that one chart shows all of them."""
        if (phase, agent) not in self._curves:
            from tensorboardX import SummaryWriter

            # One folder per process separates the curves of several in the same directory.
            folder = self.paths.tensorboard / f"{self.start:%Y%m%d_%H%M%S}" / f"phase{phase}_{agent.replace('/', '_')}"
            writer = SummaryWriter(logdir=str(folder), flush_secs=10)
            self._resources.callback(writer.close)
            if self._settings:
                writer.add_text("settings", self._settings)
            self._curves[phase, agent] = writer
        return self._curves[phase, agent]


_OVERVIEW = {
    *("reward", "reward/meta_controller", "equity"),  # the meta-controller's reward is the portfolio's
    *("validation_sharpe", "validation_total_return", "validation_max_drawdown"),
}
"""Names of what tells the story; the group ``1_overview`` has no others, so that it stays one page."""

_GROUPS = (
    ("2_trading", ("validation_", "turnover", "cost", "swap", "exposure", "risk/", "time_in_market")),
    ("3_policy", ("entropy", "action_std", "approximate_kl", "clip_fraction", "pinned", "ratio", "first_")),
    ("5_curriculum", ("curriculum/",)),
    ("6_speed", ("timesteps_per_second",)),
    ("8_unseen", ("unseen/",)),
    ("7_decisions", ("wanted_weight/", "capital/", "risk_appetite")),
)
"""Groups of curves by how their names begin; those of none are of learning."""


def _group(name: str) -> str:
    """The group of a curve."""
    if name in _OVERVIEW:
        return "1_overview"
    return next((title for title, starts in _GROUPS if name.startswith(starts)), "4_learning")


class _ConsoleFormatter(logging.Formatter):
    """Formats a record as its message, with the level in front of warnings and errors, and what to do below."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.levelno > logging.INFO:
            message = f"{record.levelname.lower()}: {message}"
        return f"{message}\n  what to do: {to_do}" if (to_do := getattr(record, _TO_DO, "")) else message


class _FileFormatter(logging.Formatter):
    """Formats a record with time and level; details are called INFO, too."""

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = "INFO" if record.levelno == DETAIL else record.levelname
        to_do = getattr(record, _TO_DO, "")
        return super().format(record) + (f". What to do: {to_do}" if to_do else "")


class _JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        level = "detail" if record.levelno == DETAIL else record.levelname.lower()
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": stamp, "level": level, "message": record.getMessage().strip()}
        to_do = {_TO_DO: found} if (found := getattr(record, _TO_DO, "")) else {}
        return json_line({**head, **to_do, **getattr(record, _EVENT, {})})


class _Console(logging.StreamHandler[TextIO]):
    """Prints lines until nobody reads them any more, as after ``| head``: a training does not end with its reader."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


class _Shown(logging.Handler):
    """Hands lines to a function, but for those of chunks before the last: who shows a training has their numbers."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, _EVENT, {})
        if event.get("event") != "chunk" or event["timesteps"] >= event["total_timesteps"]:
            self._show(self.format(record))


class _MetricsTable:
    """A CSV file with fixed columns, flushed after every row, so that a run can be monitored."""

    def __init__(self, path: Path, columns: list[str], there: list[str] | None) -> None:
        """``there`` are the columns of a file to go on with."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: TextIO = path.open("a" if there else "w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, there or columns, restval="", lineterminator="\n")
        if not there:
            self._writer.writeheader()

    def close(self) -> None:
        self._stream.close()

    def append(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({name: _cell(value) for name, value in row.items()})
        self._stream.flush()


def _number(value: Any) -> float | int:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return plain if isinstance(plain, int) else float(plain)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value  # nine digits represent a float32 exactly
