"""The files that trading leaves in its folder: state, heartbeat, a journal of every order, and trades.csv."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from mtquant_jax.deploy.fills import Fill, trades_of
from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import json_line, json_object, read_sealed, write_json, write_sealed
from mtquant_jax.storage.records import JsonRecord
from mtquant_jax.storage.tables import write_csv

_LONGEST_LINE = 1 << 20  # bytes of a line of the journal


@dataclasses.dataclass(frozen=True)
class LiveState(JsonRecord):
    """What trading must know after a restart."""

    login: int
    """The account."""
    last_bar: int = 0
    """Open of the newest bar that was decided on, seconds since 1970 UTC; 0 before the first."""
    bars: int = 0
    """Bars that were decided on, and those that passed between them."""
    wanted: dict[str, float] = dataclasses.field(default_factory=dict)
    """Signed lots by symbol of the newest decision."""
    pending: dict[str, str] = dataclasses.field(default_factory=dict)
    """Symbols whose orders have not been sent yet, and why; empty text before the first try."""
    day: int = -1
    """The broker's day of ``day_equity``, days since 1970."""
    day_equity: float = 0.0
    """First equity of that day, account currency."""
    closing: str = ""
    """Why everything is closed; empty while trading goes on."""
    halted_day: int = -1
    """The broker's day on which the loss of the day stopped trading."""


class Journal:
    """Reads and writes the files of one folder.

    ``state.json`` and ``heartbeat.json`` are replaced as a whole, ``journal.jsonl`` grows by one JSON object per event,
    and ``trades.csv`` is computed again from the fills in it. Nothing in them is a password.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None

    def state(self, login: int) -> LiveState:
        """The state of an account; a new one where there is none yet.

        Raises:
            UserError: the file is damaged, or is of another account.
        """
        path = self.folder / "state.json"
        if not path.exists():
            return LiveState(login)
        what = "the state of live trading"
        state = LiveState.from_json(read_sealed(path, what), f"{what}: {path}")
        if state.login != login:
            raise UserError(
                f"{self.folder} belongs to account {state.login}, and {login} is logged in; give another folder"
            )
        return state

    def save(self, state: LiveState) -> None:
        """Replace the state."""
        write_sealed(self.folder / "state.json", state.to_json())

    def beat(self, now: float, content: Mapping[str, Any]) -> None:
        """Say that trading is alive, and how it stands; left out where another program keeps the file open."""
        with contextlib.suppress(PermissionError):
            write_json(self.folder / "heartbeat.json", {"time": stamp(now), **content})

    def write(self, now: float, event: str, **content: Any) -> None:
        """Append an event, which is on disk when this returns."""
        line = json_line({"time": stamp(now), "event": event, **content})
        with (self.folder / "journal.jsonl").open("a+b") as stream:
            _drop_unfinished(stream)
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def add_fill(self, now: float, fill: Fill, **content: Any) -> None:
        """Append a fill, and write ``trades.csv`` again.

        On Windows, a spreadsheet that has the table open keeps it from being written; the next fill writes it.

        Raises:
            UserError: an earlier line of the journal is damaged.
        """
        self.write(now, "fill", fill=fill.to_json(), **content)
        table = trades_of(self.fills())
        with contextlib.suppress(PermissionError):
            write_csv(self.folder / "trades.csv", table)

    def fills(self) -> list[Fill]:
        """All fills in their order. A last line that was not written to its end is left out.

        Raises:
            UserError: another line is damaged.
        """
        path = self.folder / "journal.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
        found = []
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last end of a line is no whole line
            where = f"{path} line {number}"
            content = json_object(line.encode(), where)
            if content.get("event") == "fill":
                found.append(Fill.from_json(content.get("fill"), where))
        return found


def _drop_unfinished(stream: BinaryIO) -> None:
    """Cut off a last line without an end, which a power cut left."""
    size = stream.seek(0, os.SEEK_END)
    start = max(size - _LONGEST_LINE, 0)
    stream.seek(start)
    tail = stream.read()
    if tail and not tail.endswith(b"\n"):
        stream.truncate(start + tail.rfind(b"\n") + 1)


def stamp(seconds: float) -> str:
    """A time as ISO 8601 text in UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
