"""What was paper traded, in one SQLite file: bars seen, decisions, orders, fills, equity, and what was odd.

Bars are booked in one transaction with the state after them. Whenever the process is killed, the file holds whole
transactions, and trading goes on with the bar after the last of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.deploy.claims import claimed
from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import json_line

_FORMAT = 1
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE bars (time INTEGER PRIMARY KEY, received INTEGER NOT NULL, prices TEXT NOT NULL);
CREATE TABLE decisions (time INTEGER PRIMARY KEY, decided INTEGER NOT NULL, content TEXT NOT NULL);
CREATE TABLE orders (time INTEGER NOT NULL, symbol TEXT NOT NULL, lots REAL NOT NULL, PRIMARY KEY (time, symbol));
CREATE TABLE fills (time INTEGER NOT NULL, symbol TEXT NOT NULL, lots REAL NOT NULL, price REAL NOT NULL,
  PRIMARY KEY (time, symbol));
CREATE TABLE equity (time INTEGER PRIMARY KEY, equity REAL NOT NULL, costs REAL NOT NULL, traded REAL NOT NULL,
  record BLOB NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, noted INTEGER NOT NULL, kind TEXT NOT NULL, time INTEGER,
  text TEXT NOT NULL, UNIQUE (kind, time, text));
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), time INTEGER NOT NULL, arrays BLOB NOT NULL);
"""
"""Times are opens of bars, seconds since 1970 UTC; received, decided and noted are when this program did so. Lots are
signed. Equity and costs of a bar are shares of initial capital, value traded of the equity before it."""

Prices = Mapping[str, Sequence[float]]
"""Of one bar, by the names of `Bars`."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Something odd about bars or about the process."""

    kind: str
    """late, missing, revised, notice, started or stopped out."""
    time: int | None
    """Open of the bar."""
    text: str


class Ledger:
    """The file; use it as a context, and book inside `booking`."""

    def __init__(self, path: Path, about: Mapping[str, str], durable: bool = True, writes: bool = True) -> None:
        """Open the ledger, or make it.

        Args:
            path: the file.
            about: what all of it is of; a ledger of something else is refused.
            durable: whether a booked bar must outlive a loss of power, and not only of the process.
            writes: whether this process alone may book in it.

        Raises:
            UserError: the file is of other bars or another training, is damaged or no ledger, or another process has
                it.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._held = contextlib.ExitStack()
        if writes:
            self._held.enter_context(claimed(path.with_name(f"{path.name}.lock"), f"books in {path}"))
        try:
            self._file = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            self._held.callback(self._file.close)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            if self._file.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise UserError(f"{path} is damaged; begin another with `ledger`")
            self._open({**about, "format": str(_FORMAT)})
            self._check_whole()
        except sqlite3.DatabaseError as error:
            self._held.close()
            raise UserError(f"{path} is no ledger of paper trading, or is damaged: {error}") from None
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _open(self, about: Mapping[str, str]) -> None:
        with self.booking():
            tables = {name for (name,) in self._file.execute("SELECT name FROM sqlite_master")}
            if tables and "about" not in tables:
                raise UserError(f"{self.path} holds something else than paper trading; name another file with `ledger`")
            if not tables:
                for statement in _TABLES.split(";\n"):
                    if statement.strip():
                        self._file.execute(statement)
                self._file.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            found = dict(self._file.execute("SELECT name, value FROM about"))
        for name, value in about.items():
            if found.get(name) != value:
                raise UserError(
                    f"{self.path} is of another {name} ({found.get(name, 'unknown')}, and not {value}); begin another "
                    f"with `ledger`, or delete it"
                )

    @contextlib.contextmanager
    def booking(self) -> Iterator[None]:
        """A transaction: all of it is kept, or nothing."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise UserError(f"{self.path} cannot be booked in: {error}") from None
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        if self._file.in_transaction:
            self._file.execute("ROLLBACK")

    def _check_whole(self) -> None:
        """Refuse a file whose state is not that after its last bar."""
        (newest,) = self._file.execute("SELECT MAX(time) FROM bars").fetchone()
        if newest != self.last:
            raise UserError(f"{self.path} is damaged: its state is not of its last bar; begin another with `ledger`")

    @property
    def last(self) -> int | None:
        """Open of the last bar booked."""
        found = self._file.execute("SELECT time FROM state").fetchone()
        return None if found is None else int(found[0])

    def state(self) -> dict[str, np.ndarray] | None:
        """The arrays after the last bar booked."""
        found = self._file.execute("SELECT arrays FROM state").fetchone()
        return None if found is None else unpacked(found[0])

    def bars_from(self, time: int) -> dict[int, dict[str, list[float]]]:
        """Bars seen from a time on, by their opens."""
        rows = self._file.execute("SELECT time, prices FROM bars WHERE time >= ? ORDER BY time", (time,))
        try:
            return {int(opened): json.loads(prices) for opened, prices in rows}
        except (ValueError, sqlite3.DatabaseError) as error:
            raise UserError(f"the bars in {self.path} are damaged ({error}); begin another with `ledger`") from None

    def records(self) -> list[tuple[int, dict[str, np.ndarray]]]:
        """What happened to the account over each bar, as it was booked."""
        rows = self._file.execute("SELECT time, record FROM equity ORDER BY time")
        return [(int(time), unpacked(blob)) for time, blob in rows]

    def table(self, name: str, columns: str) -> list[tuple[Any, ...]]:
        """Rows of a table in their order."""
        return list(self._file.execute(f"SELECT {columns} FROM {name} ORDER BY 1, 2"))

    def events(self) -> list[Event]:
        """All that was odd, oldest first."""
        return [Event(*row) for row in self._file.execute("SELECT kind, time, text FROM events ORDER BY id")]

    def book_bar(self, time: int, received: int, prices: Prices) -> None:
        """A bar that was seen."""
        row = (time, received, json_line(prices))
        self._file.execute("INSERT INTO bars VALUES (?, ?, ?)", row)

    def book_decision(self, time: int, decided: int, content: Mapping[str, Any], orders: Mapping[str, float]) -> None:
        """What was decided at the close of a bar, and the orders for the next open, signed lots by symbol."""
        self._file.execute("INSERT INTO decisions VALUES (?, ?, ?)", (time, decided, json_line(content)))
        rows = [(time, symbol, lots) for symbol, lots in orders.items()]
        self._file.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)

    def book_trading(
        self,
        time: int,
        equity: float,
        costs: float,
        traded: float,
        record: Mapping[str, np.ndarray],
        fills: Mapping[str, tuple[float, float]],
    ) -> None:
        """What happened to the account over a bar; ``fills`` are signed lots and price at its open, by symbol."""
        self._file.execute("INSERT INTO equity VALUES (?, ?, ?, ?, ?)", (time, equity, costs, traded, packed(record)))
        rows = [(time, symbol, lots, price) for symbol, (lots, price) in fills.items()]
        self._file.executemany("INSERT INTO fills VALUES (?, ?, ?, ?)", rows)

    def book_state(self, time: int, arrays: Mapping[str, np.ndarray]) -> None:
        """All that the next bar needs."""
        self._file.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (time, packed(arrays)))

    def note(self, now: int, events: Sequence[Event]) -> list[Event]:
        """Write down what is odd, once; returns what is new."""
        fresh = []
        for event in events:
            row = (now, event.kind, event.time, event.text)
            known = "SELECT 1 FROM events WHERE kind = ? AND time IS ? AND text = ?"
            if event.kind != "started" and self._file.execute(known, row[1:]).fetchone():
                continue
            statement = "INSERT OR IGNORE INTO events (noted, kind, time, text) VALUES (?, ?, ?, ?)"
            fresh += [event] if self._file.execute(statement, row).rowcount else []
        return fresh


def open_ledger(path: Path, about: Mapping[str, str]) -> Ledger:
    """A ledger that is there, to be read.

    Args:
        path: the file.
        about: what it must be of.

    Raises:
        UserError: there is none, it is of something else, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"there is no ledger {path}; trade with mtquant-jax paper first, or name another with `ledger`")
    return Ledger(path, about, writes=False)


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as bytes, exactly: their SHA-256, a line of JSON with names, types and shapes, then their bytes."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    head = [[name, array.dtype.str, list(np.shape(arrays[name]))] for name, array in plain.items()]
    content = b"".join([json.dumps(head).encode(), b"\n", *(array.tobytes() for array in plain.values())])
    return hashlib.sha256(content).digest() + content


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """What `packed` packed.

    Raises:
        UserError: it is something else.
    """
    seal, content = content[:32], content[32:]
    head, _, rest = content.partition(b"\n")
    arrays, start = {}, 0
    if hashlib.sha256(content).digest() != seal:
        raise UserError("the ledger's arrays are damaged; begin another with `ledger`")
    try:
        for name, kind, shape in json.loads(head):
            dtype, count = np.dtype(kind), int(np.prod(shape, dtype=np.int64))
            arrays[str(name)] = np.frombuffer(rest, dtype, count, start).reshape(shape).copy()
            start += count * dtype.itemsize
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the ledger's arrays are damaged ({error}); begin another with `ledger`") from None
    return arrays
