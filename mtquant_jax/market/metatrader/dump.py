"""Turns a CSV or JSON dump of MetaTrader's symbol_info into records, one per symbol."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError

_NEEDED = ("name", "digits", "trade_contract_size", "currency_profit")
_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # by byte-order mark
_FORM = "dump symbol_info(...)._asdict() of each symbol, as docs/market_data.md shows"


@dataclasses.dataclass(frozen=True)
class SymbolRecord:
    """What MetaTrader says about one symbol."""

    where: str
    """File and symbol, for messages."""
    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        """A text, empty where there is none."""
        value = self.fields.get(key)
        return "" if value is None else str(value).strip()

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; UserError where it is missing without a default, or no number."""
        value = self.fields.get(key)
        if value is None or value == "":
            if default is None:
                raise UserError(f"{self.where} has no {key}; {_FORM}")
            return default
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise UserError(f"{self.where}: {key} must be a number; found {value!r}")
        return found

    @property
    def name(self) -> str:
        """The broker's name of the symbol."""
        return self.text("name")


def read_dump(path: Path) -> list[SymbolRecord]:
    """Read the symbols of a dump, in its order.

    JSON holds one object, a list of them, or objects by the symbol's name; CSV has a header and a row per symbol,
    separated by comma, semicolon or tabulator.

    Raises:
        UserError: the file cannot be read, is neither of the two, or a symbol lacks what every dump has.
    """
    text = _text(path)
    if not text.strip():
        raise UserError(f"{path}: the file is empty; {_FORM}")
    rows = _json_rows(path, text) if text.lstrip()[:1] in "[{" else _csv_rows(path, text)
    records = []
    for number, fields in enumerate(rows, start=1):
        missing = [key for key in _NEEDED if fields.get(key) in (None, "")]
        name = fields.get("name") or f"symbol {number}"
        if missing:
            raise UserError(f"{path}: {name} has no {', '.join(missing)}; {_FORM}")
        records.append(SymbolRecord(f"{path}: {name}", fields))
    if not records:
        raise UserError(f"{path} holds no symbol; {_FORM}")
    return records


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    encoding = next((name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # a terminal's description in the language of Windows


def _json_rows(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); {_FORM}") from None
    if isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        content = [{"name": name} | fields for name, fields in content.items()]
    for fields in content if isinstance(content, list) else [content]:
        if not isinstance(fields, dict):
            raise UserError(f"{path}: a symbol must be an object with its fields, not {str(fields)[:40]!r}; {_FORM}")
        yield fields


def _csv_rows(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    header = text.lstrip().splitlines()[0]
    separator = max(",;\t", key=header.count)
    try:
        for row in csv.DictReader(io.StringIO(text.lstrip()), delimiter=separator):
            fields = {str(key).strip(): value for key, value in row.items() if isinstance(value, str)}
            if separator == ";":  # numbers then have a decimal comma; no other field of use has a comma
                fields = {key: value.replace(",", ".") for key, value in fields.items()}
            if any(fields.values()):
                yield fields
    except csv.Error as error:
        raise UserError(f"{path}: is not CSV ({error}); {_FORM}") from None
