"""Mutations of bar files: each turns a good file into one that a broken disk, an editor or an export may leave.

What cannot be noticed is not made: a number that is changed into another plausible one, high or low that move away from
the prices between them, open exchanged with close, volume with spread, a name of volume or spread that is misspelt, and
the last number of a file cut short. Random bytes may still do so; then the other rows must be unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.reference.bar_originals import Mutant, Original
from mtquant_jax.reference.bar_table_mutants import change_table, damage_table, pack

Random = np.random.Generator
_Mutation = Callable[[Random, Original], Mutant | None]

_ODD_NUMBERS = (
    "| |abc|nan|inf|-inf|1e30|1e999|-1.1|0|0.0|1.1.1|--1|1_1|0x1p3|1e-30|1,1,1|1.1e|None|null|#N/A|=1+1|$1.1|1.1%|true|"
    "1'1|9.9\u00a0|\u0669\u066b\u0669|\uff19.\uff19"
)
_ODD_TIMES = (
    "| |x|0|-1|5|99999999999999999999|1e9|nan|2024-02-30 10:00|2024-13-01|24:00|01/02/2024 10:00|2567-01-02 10:00|"
    "1970-01-01 00:00|2099-01-01 00:00|0000-00-00|45293|13:00|2024-01-02 13:00 PM|2024-01-02 10:00+25:00|"
    "Tue Jan  2 2024|20241399|2024-1-2T|\u4e8c\u3007\u4e8c\u56db"
)


def _join(original: Original, lines: list[str]) -> bytes:
    end = "\r\n" if b"\r\n" in original.content else "\n"
    return (end.join(lines) + end).encode("utf-8", "surrogatepass")


def _bars(original: Original) -> range:
    return range(original.head, len(original.lines))


def _cells(original: Original) -> tuple[list[str], list[list[str]]]:
    assert original.layout is not None
    lines = original.lines
    return lines[: original.head], [line.split(original.layout.separator) for line in lines[original.head :]]


def _column(original: Original, price: str) -> int:
    """The position of the open, high, low or close; in a file with both sides, of the bid."""
    assert original.layout is not None
    return next(column for role, column in original.layout.columns.items() if role.rpartition(".")[2] == price)


def _with_cells(original: Original, head: list[str], rows: list[list[str]]) -> bytes:
    assert original.layout is not None
    return _join(original, [*head, *(original.layout.separator.join(row) for row in rows)])


def flip_byte(rng: Random, original: Original) -> Mutant:
    """One byte becomes another one."""
    data = bytearray(original.content)
    data[rng.integers(_data_start(original), len(data))] = rng.integers(256)
    return Mutant(bytes(data), touched=2)


def insert_or_delete_bytes(rng: Random, original: Original) -> Mutant:
    """A few bytes are inserted or deleted at one place."""
    data, place = original.content, int(rng.integers(_data_start(original), len(original.content)))
    if rng.random() < 0.5:
        return Mutant(data[:place] + data[place + int(rng.integers(1, 4)) :], touched=2)
    return Mutant(data[:place] + rng.bytes(int(rng.integers(1, 4))) + data[place:], touched=2)


def _data_start(original: Original) -> int:
    """The first byte that may be changed: names of columns may turn volume or spread into another column."""
    return original.layout.offset if original.layout else 0


def cut_lines(rng: Random, original: Original) -> Mutant:
    """A stretch of bars is missing."""
    first = int(rng.integers(len(_bars(original)) - 5))
    lost = frozenset(range(first, first + int(rng.integers(1, 5))))
    lines = [line for i, line in enumerate(original.lines) if i - original.head not in lost]
    return Mutant(_join(original, lines), lost=lost)


def cut_file(rng: Random, original: Original) -> Mutant:
    """The file ends within a row, before its last column."""
    assert original.layout is not None
    row = int(rng.integers(2, len(_bars(original))))
    lines = original.lines[: original.head + row + 1]
    place = int(rng.integers(len(lines[-1].rpartition(original.layout.separator)[0]) + 1))
    lines[-1] = lines[-1][:place]
    return Mutant(_join(original, lines).rstrip(b"\r\n"), lost=frozenset(range(row, len(_bars(original)))))


def repeat_lines(rng: Random, original: Original) -> Mutant:
    """A stretch of rows, or the whole file, stands there twice."""
    lines, first = original.lines, int(rng.integers(original.head, len(original.lines)))
    again = lines if rng.random() < 0.2 else lines[first : first + int(rng.integers(1, 9))]
    place = int(rng.choice([first, len(lines)]))
    return Mutant(_join(original, [*lines[:place], *again, *lines[place:]]))


def reorder_lines(rng: Random, original: Original) -> Mutant:
    """Rows are exchanged, reversed or shuffled."""
    lines, head = original.lines, original.head
    bars = lines[head:]
    how = rng.integers(3)
    if how == 0:
        i, j = rng.integers(len(bars), size=2)
        bars[i], bars[j] = bars[j], bars[i]
    bars = bars[::-1] if how == 1 else [bars[i] for i in rng.permutation(len(bars))] if how == 2 else bars
    return Mutant(_join(original, [*lines[:head], *bars]))


def insert_lines(rng: Random, original: Original) -> Mutant:
    """Lines that are no bars stand among them."""
    lines = original.lines
    odd = ["", "   ", ",,,,,,", ";;;;", "\t\t", "# a comment", "Total: 48", "\x1a", '"', "null", "open,high,low,close"]
    for _ in range(int(rng.integers(1, 6))):
        lines.insert(int(rng.integers(len(lines) + 1)), str(rng.choice(odd)))
    return Mutant(_join(original, lines))


def change_ends(rng: Random, original: Original) -> Mutant:
    """Lines end in another way, all or each in its own."""
    ends = ["\n", "\r\n", "\r\r\n", "\r", "\n\n", "\r\n\r\n"]
    chosen = [str(rng.choice(ends))] * len(original.lines)
    if rng.random() < 0.3:
        chosen = [str(rng.choice(ends)) for _ in original.lines]
    return Mutant("".join(line + end for line, end in zip(original.lines, chosen, strict=True)).encode())


def change_encoding(rng: Random, original: Original) -> Mutant:
    """The text has another encoding or a mark before it."""
    encodings = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7", "cp037"]
    data = original.content.decode().encode(str(rng.choice(encodings)))
    return Mutant(data[: len(data) - int(rng.random() < 0.2)], touched=1)


def change_number(rng: Random, original: Original) -> Mutant:
    """A price is no number, far outside its bar, or written in an odd way."""
    head, rows = _cells(original)
    assert original.layout is not None
    row, column = int(rng.integers(len(rows))), _column(original, str(rng.choice(PRICES)))
    high, low = (_column(original, price) for price in ("high", "low"))
    odd = str(rng.choice(_ODD_NUMBERS.split("|")))
    if (column == high and odd == "1e30") or (column == low and odd == "1e-30"):
        odd = "x"
    rows[row][column] = odd
    return Mutant(_with_cells(original, head, rows))


def scale_numbers(rng: Random, original: Original) -> Mutant:
    """Open or close of one bar, or of all, is in another unit."""
    head, rows = _cells(original)
    assert original.layout is not None
    column = _column(original, str(rng.choice(["open", "close"])))
    factor = float(rng.choice([1e-5, 0.01, 0.1, 10, 100, 1e5, -1]))
    chosen = rows if rng.random() < 0.5 else [rows[int(rng.integers(len(rows)))]]
    for row in chosen:
        point = original.layout.decimal_point
        row[column] = f"{float(row[column].replace(point, '.')) * factor:.7f}".replace(".", point)
    return Mutant(_with_cells(original, head, rows))


def change_time(rng: Random, original: Original) -> Mutant:
    """The time of one row is none, or has another form or unit."""
    head, rows = _cells(original)
    assert original.layout is not None
    cells, column = rows[int(rng.integers(len(rows)))], int(rng.choice(original.layout.time.columns))
    cell = cells[column]
    changed = [
        *_ODD_TIMES.split("|"),
        cell + "000",
        cell + " ",
        " " + cell,
        cell[:-1],
        cell[:-3],
        cell + "x",
        cell.replace(":", ""),
    ]
    changed += [cell.replace("2024", year) for year in ("2567", "1924", "2124", "24", "20024")]
    cells[column] = str(rng.choice(changed))
    return Mutant(_with_cells(original, head, rows), touched=1)


def change_unit(rng: Random, original: Original) -> Mutant | None:
    """Times that are numbers have another unit, from some row on."""
    head, rows = _cells(original)
    assert original.layout is not None
    column = original.layout.time.columns[0]
    if not rows[0][column].isdigit() or len(rows[0][column]) not in (10, 13):
        return None
    zeros = "0" * int(rng.choice([3, 6]))
    for row in rows[int(rng.integers(len(rows))) :]:
        row[column] += zeros
    return Mutant(_with_cells(original, head, rows))


def exchange_columns(rng: Random, original: Original) -> Mutant | None:
    """Two columns change places: with their names, or without, where that makes the bars impossible."""
    head, rows = _cells(original)
    assert original.layout is not None
    names = head[-1].split(original.layout.separator) if head else []
    if (
        len(names) == len(rows[0])
        and len(original.layout.time.columns) == 1
        and original.head == 1
        and rng.random() < 0.5
    ):
        i, j = rng.choice(len(names), 2, replace=False)
        for row in (names, *rows):
            row[i], row[j] = row[j], row[i]
        return Mutant(_with_cells(original, [original.layout.separator.join(names)], rows))
    time = original.layout.time.columns[0]
    high, low, open_, close = (_column(original, price) for price in ("high", "low", "open", "close"))
    pairs = [(high, low), (high, open_), (low, close), (time, open_), (time, high), (time, close)]
    i, j = pairs[int(rng.integers(len(pairs)))]
    for row in rows:
        row[i], row[j] = row[j], row[i]
    return Mutant(_with_cells(original, head, rows))


def change_separator(rng: Random, original: Original) -> Mutant | None:
    """Another character separates the columns, throughout or in some rows, or ends every row."""
    assert original.layout is not None
    if original.layout.decimal_point == ",":
        return None
    other = str(rng.choice([",", ";", "\t", "|", " ", ", "]))
    lines = original.lines
    where = range(len(lines)) if rng.random() < 0.7 else rng.integers(len(lines), size=3).tolist()
    if rng.random() < 0.2:
        return Mutant(_join(original, [line + original.layout.separator for line in lines]))
    for i in set(where):
        lines[i] = lines[i].replace(original.layout.separator, other)
    return Mutant(_join(original, lines))


TEXT: tuple[_Mutation, ...] = (
    *(flip_byte, insert_or_delete_bytes, cut_lines, cut_file, repeat_lines, reorder_lines, insert_lines, change_ends),
    *(
        change_encoding,
        change_number,
        scale_numbers,
        change_time,
        change_unit,
        exchange_columns,
        change_separator,
        pack,
    ),
)
TABLE: tuple[_Mutation, ...] = (change_table, damage_table, pack)


def mutate(rng: Random, original: Original) -> tuple[str, Mutant]:
    """Apply a random mutation, and return its name with the mutant."""
    mutations = TABLE if original.layout is None else TEXT
    while True:
        chosen = mutations[int(rng.integers(len(mutations)))]
        mutant = chosen(rng, original)
        if mutant is not None:
            return chosen.__name__, mutant
