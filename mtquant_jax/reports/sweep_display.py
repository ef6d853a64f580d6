"""What a sweep shows while it runs: in a terminal its best trials and how far it is, elsewhere a line per trial."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mtquant_jax.reports.sweep import one_line, value_text
from mtquant_jax.reports.wording import short_names
from mtquant_jax.runs.display import shows_live
from mtquant_jax.runs.sweep.study import Finished
from mtquant_jax.runs.sweep.sweep import SweepPlan
from mtquant_jax.runs.sweep.trials import Trial
from mtquant_jax.settings.search_space import written
from mtquant_jax.training.observer import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

_BEST = 8  # trials in the table
_A_SECOND = 4


@dataclasses.dataclass
class SweepDisplay:
    """Prints a line for every trial that is told."""

    plan: SweepPlan
    total: int
    finished: list[Finished]

    def begins(self, trials: Sequence[Trial]) -> None:
        """A batch is asked for."""

    def chunk(self, progress: Progress) -> None:
        """A chunk of a training is done."""

    def told(self, one: Finished) -> None:
        """There is a result."""
        self.finished.append(one)
        print(one_line(one, next(iter(self.best()), None)), flush=True)

    def notice(self, text: str) -> None:
        """Something else is to be known; above the table, which takes what is printed."""
        print(f"notice: {text}", flush=True)

    def best(self) -> list[Finished]:
        """Complete trials, the best first."""
        complete = [one for one in self.finished if one.result.value is not None]
        return sorted(complete, key=lambda one: -(one.result.value or 0.0))


class _Live(SweepDisplay):
    """Draws the best trials and a line of progress over itself."""

    def __init__(self, plan: SweepPlan, total: int, finished: list[Finished]) -> None:
        from rich.live import Live

        super().__init__(plan, total, finished)
        self._began, self._at_first, self._trials = time.monotonic(), len(finished), list[Trial]()
        self._done: dict[tuple[int, int, str], int] = {}
        self._ended, self._all = 0, 1
        self.live = Live(get_renderable=self._draw, refresh_per_second=_A_SECOND, transient=True)

    def begins(self, trials: Sequence[Trial]) -> None:
        self._trials = list(trials)
        self._done.clear()

    def chunk(self, progress: Progress) -> None:
        member = progress.member
        self._done[member.phase, member.hierarchy, member.name] = progress.timesteps
        self._all = progress.total_timesteps

    def told(self, one: Finished) -> None:
        self._ended += one.result.timesteps
        self.finished.append(one)
        if one.result.state != "complete":
            self.live.console.print(one_line(one, None), markup=False, highlight=False)

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column("trial", justify="right")
        for name in short_names(self.plan.space.names):
            table.add_column(name, justify="right", overflow="ellipsis", no_wrap=True)
        table.add_column(self.plan.objective.replace("_", " "), justify="right", no_wrap=True)
        for one in self.best()[:_BEST]:
            cells = (one.trial.values.get(name) for name in self.plan.space.names)
            row = ("" if cell is None else written(cell) for cell in cells)
            table.add_row(str(one.trial.number), *row, value_text(one))
        return Group(table, Text(self._status(), overflow="ellipsis", no_wrap=True))

    def _status(self) -> str:
        """How far the sweep is, how fast, and how long it will take."""
        seconds = time.monotonic() - self._began
        done = self._ended + sum(self._done.values()) * bool(self._trials)
        new = len(self.finished) - self._at_first
        parts = [f"{len(self.finished)} of {self.total or '?'} trials", f"{done / max(seconds, 1e-9):,.0f} timesteps/s"]
        if new and self.total:
            left = seconds / new * max(self.total - len(self.finished), 0)
            parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
        if self._trials:
            at = max(self._done.values(), default=0)
            parts.append(f"trials {self._trials[0].number} to {self._trials[-1].number} at {at:,} of {self._all:,}")
        return ", ".join(parts)


@contextlib.contextmanager
def shown_sweep(plan: SweepPlan, total: int, finished: Sequence[Finished]) -> Iterator[SweepDisplay]:
    """What shows a sweep on the standard output."""
    if not shows_live(sys.stdout):
        yield SweepDisplay(plan, total, list(finished))
        return
    display = _Live(plan, total, list(finished))
    with display.live:
        yield display
