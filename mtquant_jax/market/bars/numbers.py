"""Turns text cells into numbers: decimal points or commas, thousands separators and the digits of other scripts.

A file has one decimal mark, which its first prices show. `1,234.5` and `1.234,5` show theirs; in `1.234` alone the mark
may be either, so it counts as a decimal mark, and a price range or a step of a factor 1000 tells where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtquant_jax.errors import UserError

_MARKS = {
    **dict.fromkeys("\N{ARABIC DECIMAL SEPARATOR}\N{FULLWIDTH FULL STOP}", "."),
    **dict.fromkeys("\N{FULLWIDTH COMMA}", ","),
    **dict.fromkeys("\N{ARABIC THOUSANDS SEPARATOR}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    **dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}", " "),
    "\N{MINUS SIGN}": "-",
}
_OTHER = {".": ",", ",": "."}
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")  # three digits follow the only mark


def decimal_mark(origin: str, cells: Iterable[str]) -> tuple[str, list[str]]:
    """The decimal mark of a file, "." or ",", by some of its prices, and sentences about numbers that need a word.

    Raises UserError, with an example of each, if some prices have a decimal point and others a decimal comma.
    """
    shown: dict[str, str] = {}  # mark -> the first cell that proves it
    unclear: dict[str, str] = {}
    grouped = ""
    for cell in cells:
        text = _ascii(cell)
        marks = re.sub(r"[^.,]", "", text)
        if re.search(r"\d[ ']\d", text) or len(marks) > 1:
            grouped = grouped or cell
        if len(set(marks)) == 1 and _AMBIGUOUS.fullmatch(text):
            unclear.setdefault(marks, cell)
        elif marks:
            decimal = marks[-1] if len(marks) == 1 or marks[-1] != marks[0] else _OTHER[marks[0]]
            shown.setdefault(decimal, cell)
    both = shown if len(shown) > 1 else {} if shown else unclear
    if len(both) > 1:
        raise UserError(
            f"{origin}: the prices {both['.'].strip()!r} and {both[','].strip()!r} have different decimal marks; write "
            "all with a point"
        )
    mark = next(iter(shown or unclear), ".")
    grouped = grouped or (unclear.get(_OTHER[mark], "") if shown else "")
    if grouped:
        value = float(read_numbers(pa.array([grouped]), mark)[0])
        return mark, [f"numbers have thousands separators; '{grouped.strip()}' is read as {value:.10g}."]
    if mark == "," and not shown:
        return mark, [f"the comma in prices such as {unclear[','].strip()!r} is taken as a decimal comma."]
    return mark, []


def read_numbers(column: pa.ChunkedArray | pa.Array, mark: str, words: bool = False) -> np.ndarray:
    """Read text (or its bytes) [R] as float64, with ``mark`` as the decimal mark; NaN where a cell is no number.

    Thousands separators are read where they stand before three digits each. With ``words``, true and false are 1 and 0;
    as a price they are no numbers.
    """
    cells = pc.fill_null(column.cast(pa.string()), "")
    if not pc.all(pc.string_is_ascii(cells)).as_py():
        cells = pa.chunked_array([pa.array([_ascii(cell) for cell in cells.to_pylist()], pa.string())])
    cells = pc.ascii_trim_whitespace(cells)
    good = pc.match_substring_regex(cells, f"^{_NUMBERS[mark]}$")
    plain = pc.replace_substring(pc.replace_substring_regex(cells, f"[ '{_OTHER[mark]}]", ""), mark, ".")
    exact = pc.if_else(good, plain, "nan")
    if words:
        lower = pc.ascii_lower(cells)
        exact = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", exact))
    return np.asarray(exact.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _ascii(cell: str) -> str:
    """The cell without blanks around it, in ASCII digits and marks."""
    cell = cell.strip()
    if cell.isascii():
        return cell
    digits = (str(int(character)) if character.isdecimal() else character for character in cell)
    return "".join(_MARKS.get(character, character) for character in digits)


def _pattern(mark: str) -> str:
    """A number with this decimal mark, perhaps with one kind of thousands separator (in India also of two digits)."""
    other, mark = re.escape(_OTHER[mark]), re.escape(mark)
    groups = (
        rf"[1-9]\d{{0,2}}(?:{other}\d{{2,3}})*{other}\d{{3}}|[1-9]\d{{0,2}}(?: \d{{3}})+|[1-9]\d{{0,2}}(?:'\d{{3}})+"
    )
    return rf"[+-]?(?:(?:\d+|{groups})(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?"


_NUMBERS = {mark: _pattern(mark) for mark in ".,"}
