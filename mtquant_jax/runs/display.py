"""What a training shows in a terminal while it runs: how far it is, how fast, and how its policies do."""

from __future__ import annotations

import dataclasses
import os
import textwrap
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mtquant_jax.backtest.performance import Performance
from mtquant_jax.jax_setup import device
from mtquant_jax.training.observer import Member, Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

_BARS = "▁▂▃▄▅▆▇█"
_COMMAND = "next: "  # how a line begins that ends in a command
_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
_SO_FAR = 12  # validations in a sparkline
_TITLES = {1: "specialists", 2: "meta-controller", 3: "all agents"}


class Display:
    """Base class of what shows a training; every method of it does nothing."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing."""

    def phase_begins(self, phase: int, members: Sequence[Member]) -> None:
        """All trainings of a phase are known."""

    def resumed(self, member: Member, timesteps: int, total: int) -> None:
        """A training goes on after so many timesteps."""

    def chunk(self, progress: Progress) -> None:
        """A chunk is done."""

    def trains_without(self, members: Sequence[Member], folds: int) -> None:
        """Members are trained as many times more, each time without a part of the bars."""

    def trained_without(self, share: float) -> None:
        """So much of that, of 1, is done."""


@dataclasses.dataclass
class _Row:
    """One training of the phase as it is shown."""

    name: str
    total: int = 0  # timesteps; 0 until the first chunk
    done: int = 0
    rate: float = 0.0  # timesteps per second of the last chunk, of all side by side
    sharpe: list[float] = dataclasses.field(default_factory=list)  # of every validation; not-a-number where flat
    validation: Performance | None = None
    entropy: float | None = None
    kl: float | None = None  # nats
    idle: bool = False  # there is nothing to learn


@dataclasses.dataclass
class _Again:
    """Trainings that are repeated without parts of the bars."""

    folds: int
    timesteps: int  # of all
    share: float = 0.0  # that is done


class LiveDisplay(Display):
    """A table that is drawn over itself, below the lines that are printed; needs a terminal."""

    def __init__(
        self, stream: IO[str], phases: Sequence[int], timesteps: dict[int, int], parallel: bool = False
    ) -> None:
        """What is going to be trained.

        Args:
            stream: the terminal.
            phases: that are trained.
            timesteps: phase -> decisions of each of its trainings.
            parallel: whether the trainings of a phase run side by side.
        """
        from rich.console import Console
        from rich.live import Live

        self._phases, self._timesteps = tuple(phases), timesteps
        self._phase, self._rows, self._parallel = 0, dict[str, _Row](), parallel
        self._again: _Again | None = None
        self._began = time.perf_counter()
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live = Live(console=self.console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, text: str) -> None:
        """Print lines above the table, broken between words; a command stays whole, so that it can be copied."""
        for line in text.splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            whole = line.startswith(_COMMAND)
            pieces = [line] if whole else textwrap.wrap(line, self.console.width, subsequent_indent=indent, **_WORDS)
            self.console.print("\n".join(pieces))

    def phase_begins(self, phase: int, members: Sequence[Member]) -> None:
        """Draw the trainings of this phase from now on."""
        self._phase, self._again = phase, None
        asked = self._timesteps.get(phase, 0)
        totals = {member.name: asked if member.plan.total_updates else 0 for member in members}
        self._rows = {name: _Row(name, total, idle=total < asked) for name, total in totals.items()}

    def resumed(self, member: Member, timesteps: int, total: int) -> None:
        """Show where it goes on."""
        row = self._rows[member.name]
        row.done, row.total = timesteps, total

    def chunk(self, progress: Progress) -> None:
        """Take up its numbers."""
        self._again = None
        row = self._rows[progress.member.name]
        row.done, row.total, row.rate = progress.timesteps, progress.total_timesteps, progress.timesteps_per_second
        row.entropy, row.kl = (_mean(progress.metrics.get(name)) for name in ("entropy", "approximate_kl"))
        if progress.validation is not None:
            row.validation = progress.validation
            row.sharpe.append(float("nan") if progress.validation.sharpe is None else progress.validation.sharpe)

    def trains_without(self, members: Sequence[Member], folds: int) -> None:
        """Draw how far that is, too."""
        self._again = _Again(folds, folds * sum(self._rows[member.name].total for member in members))

    def trained_without(self, share: float) -> None:
        """Take it up."""
        if self._again is not None:
            self._again.share = share

    def _draw(self) -> RenderableType:
        from rich.console import Group

        if not self._phase:
            return "preparing"
        parts: list[RenderableType] = [self._head(), self._progress()]
        if any(row.validation for row in self._rows.values()):
            parts.append(self._validations())
        return Group(*parts)

    def _head(self) -> str:
        place = f"phase {self._phase}, {_TITLES[self._phase]}"
        left, run_left = self._left()
        times = f"{_clock(time.perf_counter() - self._began)} gone"
        if left is not None:
            times += f", {_clock(left)} left of the phase"
        if run_left is not None and len(self._phases) > 1:
            times += f", {_clock(run_left)} of the run"
        return f"{place}: {times}\n{device()}, {_memory()}"

    def _left(self) -> tuple[float | None, float | None]:
        """Seconds left of the phase and of the run, at the speed of the last chunk and without compiling."""
        rate = max((row.rate for row in self._rows.values() if row.done < row.total), default=0.0)
        rate = rate or max((row.rate for row in self._rows.values()), default=0.0)
        if not rate:
            return None, None
        left = float(sum(row.total - row.done for row in self._rows.values()))
        if (again := self._again) is not None:  # read once: drawing is another thread's
            left += again.timesteps * (1.0 - again.share)
        later = sum(self._timesteps[phase] for phase in self._phases if phase > self._phase)
        return left / rate, (left + later) / rate

    def _progress(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right"):
            table.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
        style: dict[str, Any] = {"complete_style": "cyan", "finished_style": "green"}
        unfinished = next((row for row in self._rows.values() if row.done < row.total), None)
        for row in self._rows.values():
            bar = ProgressBar(total=max(row.total, 1), completed=row.done, width=24, **style)
            begun = "starting" if self._parallel or row is unfinished else "waiting"  # the first one compiles
            speed = f"{row.rate:,.0f}/s" if row.rate else "nothing to learn" if row.idle else begun
            total = f"{row.total:,}"
            table.add_row(f"  {row.name}", bar, f"{row.done:>{len(total)},}/{total}", f"{speed:>9}")
        if (again := self._again) is not None:
            bar = ProgressBar(total=1.0, completed=again.share, width=24, **style)
            table.add_row(f"  {again.folds} times more", bar, f"{again.share:.0%}", "")
        return table

    def _validations(self) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
        table.add_column("  validation", no_wrap=True)
        widths = {"Sharpe": 6, "so far": _SO_FAR, "drawdown": 8, "turnover": 9, "entropy": 7, "KL": 8}
        for name, width in widths.items():  # the table does not jump as numbers grow
            table.add_column(name, justify="left" if name == "so far" else "right", no_wrap=True, min_width=width)
        for row in self._rows.values():
            if (found := row.validation) is None:
                continue
            sharpe = "flat" if found.sharpe is None else f"{found.sharpe:+.2f}"
            drawdown, turnover = f"{100 * found.max_drawdown:.2f} %", f"{found.turnover_per_day:.2f}/day"
            cells = [sharpe, sparkline(row.sharpe[-_SO_FAR:]), drawdown, turnover, _short(row.entropy), _short(row.kl)]
            table.add_row(f"  {row.name}", *cells)
        return table


def sparkline(values: Sequence[float]) -> str:
    """Numbers as blocks of eight heights between the lowest and the highest; a dot where there is none."""
    numbers = np.asarray(values, np.float64)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return "·" * len(numbers)
    low, spread = float(finite.min()), float(finite.max() - finite.min())
    heights = [3 if spread == 0.0 else round(7 * (value - low) / spread) for value in np.nan_to_num(numbers, nan=low)]
    return "".join(_BARS[height] if known else "·" for height, known in zip(heights, np.isfinite(numbers), strict=True))


def shows_live(stream: IO[str]) -> bool:
    """Whether a stream is a terminal that can draw over itself."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb") and not os.environ.get("CI")


def _mean(value: Any) -> float | None:
    return None if value is None else float(np.mean(value))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _memory() -> str:
    """Memory in use: of this process, and of the device where that counts its own."""
    used = []
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            used.append(f"{int(stream.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB memory")
    except (OSError, ValueError, IndexError):  # not on Linux
        pass
    import jax

    stats = jax.devices()[0].memory_stats()
    if stats and stats.get("bytes_in_use"):
        used.append(f"{stats['bytes_in_use'] / 1e9:.1f} GB on the device")
    return ", ".join(used) or "memory unknown"
