"""Writes where elements come from and go to: as loops over arithmetic progressions, or as tables of positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MOST_LOOPS = 6  # of one source; more become a table
_PER_LINE = 12


def table(name: str, kind: str, values: Sequence[str]) -> str:
    """A constant array."""
    rows = [", ".join(values[i : i + _PER_LINE]) for i in range(0, len(values), _PER_LINE)]
    return f"const {kind} {name}[{len(values)}] = {{\n   " + ",\n   ".join(rows) + "\n};"


def element(positions: np.ndarray, name: str, row: str = "i", column: str = "j") -> tuple[str, list[str]]:
    """Where element (i, j) of positions ``[R, C]`` stands, as an expression.

    Args:
        positions: int64.
        name: of a table, should one be needed.
        row: the index along R.
        column: the index along C.

    Returns:
        The expression, and the tables that it reads.
    """
    rows, columns = positions.shape
    first = int(positions[0, 0])
    down = int(positions[1, 0]) - first if rows > 1 else 0
    along = int(positions[0, 1]) - first if columns > 1 else 0
    expected = first + down * np.arange(rows)[:, None] + along * np.arange(columns)[None]
    if np.array_equal(expected, positions):
        return _sum(first, (down, row), (along, column)), []
    text = table(f"{name}_at", "int", [str(value) for value in positions.reshape(-1)])
    return f"{name}_at[{row} * {columns} + {column}]", [text]


def moved(targets: np.ndarray, origins: np.ndarray, name: str) -> tuple[list[tuple[list[str], str, str]], list[str]]:
    """How elements of one source get to their places.

    Args:
        targets: ``[K]`` where they go, rising.
        origins: ``[K]`` where they are.
        name: of tables, should they be needed.

    Returns:
        For each statement the lines of its loops, the place that it writes and the one that it reads; and the tables.
    """
    if targets.size == 0:
        return [], []
    grid = _grid(targets, origins)
    if grid is not None:
        return [grid], []
    runs = _runs(targets, origins)
    if len(runs) <= _MOST_LOOPS:
        return [_statement(*run) for run in runs], []
    tables = [table(f"{name}_from", "int", [str(value) for value in origins])]
    target = "i"
    if not np.array_equal(targets, np.arange(targets.size)):
        step = np.unique(np.diff(targets))
        if step.size == 1:
            target = _sum(int(targets[0]), (int(step[0]), "i"))
        else:
            tables.append(table(f"{name}_to", "int", [str(value) for value in targets]))
            target = f"{name}_to[i]"
    return [([f"for(int i = 0; i < {targets.size}; i++)"], target, f"{name}_from[i]")], tables


def _grid(targets: np.ndarray, origins: np.ndarray) -> tuple[list[str], str, str] | None:
    """Up to three nested loops over progressions of both; None where there are none."""
    sizes: list[int] = []
    steps: list[np.ndarray] = []
    rest = np.stack([targets, origins])
    while rest.shape[1] > 1 and len(sizes) < 3:
        change = np.diff(rest, axis=1)
        other = np.flatnonzero((change != change[:, :1]).any(0))
        length = int(other[0]) + 1 if other.size else rest.shape[1]
        if rest.shape[1] % length or length == 1:
            return None
        blocks = rest.reshape(2, -1, length)
        step = change[:, 0]
        if not np.array_equal(blocks, blocks[:, :, :1] + step[:, None, None] * np.arange(length)):
            return None
        sizes.insert(0, length)
        steps.insert(0, step)
        rest = blocks[:, :, 0]
    if rest.shape[1] > 1:
        return None
    names = "abi"[3 - len(sizes) :] if sizes else ""
    loops = [
        f"{'   ' * depth}for(int {index} = 0; {index} < {size}; {index}++)"
        for depth, (index, size) in enumerate(zip(names, sizes, strict=True))
    ]
    places = [
        _sum(int(rest[side, 0]), *((int(step[side]), index) for step, index in zip(steps, names, strict=True)))
        for side in (0, 1)
    ]
    return loops, places[0], places[1]


def _runs(targets: np.ndarray, origins: np.ndarray) -> list[tuple[int, int, int, int, int]]:
    """Longest progressions of both from left to right: first target, its step, first origin, its step, length."""
    runs, start = [], 0
    while start < targets.size:
        end = start + 1
        down, along = (1, 0) if end == targets.size else (targets[end] - targets[start], origins[end] - origins[start])
        while (
            end < targets.size and targets[end] - targets[end - 1] == down and origins[end] - origins[end - 1] == along
        ):
            end += 1
        runs.append((int(targets[start]), int(down), int(origins[start]), int(along), end - start))
        start = end
    return runs


def _statement(target: int, down: int, origin: int, along: int, count: int) -> tuple[list[str], str, str]:
    if count == 1:
        return [], str(target), str(origin)
    return [f"for(int i = 0; i < {count}; i++)"], _sum(target, (down, "i")), _sum(origin, (along, "i"))


def _sum(first: int, *terms: tuple[int, str]) -> str:
    """An index: first + step x name + ..."""
    parts = [name if step == 1 else f"{step} * {name}" for step, name in terms if step != 0 and name != "0"]
    if first or not parts:
        parts.insert(0, str(first))
    return " + ".join(parts)
