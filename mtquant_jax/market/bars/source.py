"""Turns a path into the bytes of one table, unpacked (gzip, zip) and in UTF-8; refuses files that are no tables."""

from __future__ import annotations

import dataclasses
import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from mtquant_jax.errors import UserError

_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
WANTED = (
    "time,open,high,low,close[,volume[,spread]], or a MetaTrader, Dukascopy, HistData, Lean or yfinance file (docs/"
    "bar_files.md)"
)
BLANK = ' \t,;"'
"""Characters of which a blank line may consist."""
_MAX_BYTES = 1 << 34  # unpacked; more minute bars than there are minutes since 1971
_MAX_NESTING = 3
_HEAD_BYTES = 8_192
_SYSTEM_FILES = re.compile(r"(^|/)(__MACOSX/|\.|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
_LINE_END = re.compile(rb"\r+\n?")


@dataclasses.dataclass(frozen=True)
class Source:
    """The unpacked content of a bar file."""

    name: str
    data: bytes  # UTF-8 text without a byte order mark, or Parquet
    is_parquet: bool
    packing: str  # "gzip", "zip" or ""
    notices: tuple[str, ...] = ()  # sentences without a subject


def read_source(path: Path) -> Source:
    """Read and unpack one file.

    Lines may end in LF, CR LF, CR CR LF or CR; those of the last two kinds are counted in a notice.

    Raises UserError for a file that cannot be read or unpacked (a truncated gzip), an archive that does not hold
    exactly one table, an empty file, a web page and anything that is not text in UTF-8 or UTF-16.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from error
    raw, packing, notices = _unpack(path.name, raw)
    if _is_parquet(raw):
        return Source(path.name, raw, True, packing, tuple(notices))
    raw, said = _with_line_ends(_text(path.name, raw))
    return Source(path.name, raw, False, packing, (*notices, *said))


def holds_table(path: Path) -> bool:
    """Return True unless the file is readable text that has no columns, such as notes or a report."""
    try:
        raw, _, _ = _unpack(path.name, path.read_bytes())
    except (OSError, UserError):
        return True
    return _is_table(raw)


def _is_parquet(raw: bytes) -> bool:
    return raw[:4] == b"PAR1"


def _unpack(name: str, raw: bytes, nesting: int = 0) -> tuple[bytes, str, list[str]]:
    """Return the unpacked bytes, the outermost packing and sentences about it."""
    suffix = PurePosixPath(name).suffix.lower()
    is_gzip = raw[:2] == b"\x1f\x8b" or (raw != b"" and suffix == ".gz")
    is_zip = raw[:4] == b"PK\x03\x04" or (raw != b"" and suffix == ".zip")
    if not is_gzip and not is_zip:
        return raw, "", []
    if nesting == _MAX_NESTING:
        raise UserError(f"{name} is packed more than {_MAX_NESTING} times; unpack it")
    try:
        inner, data, notices = _gunzip(name, raw) if is_gzip else _unzip(name, raw)
    except EOFError as error:
        raise UserError(f"{name} is truncated: {error}; copy or download it again") from error
    except (OSError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(f"{name} cannot be unpacked: {error}; copy or download it again") from error
    data, _, more = _unpack(inner, data, nesting + 1)
    return data, "gzip" if is_gzip else "zip", notices + more


def _gunzip(name: str, raw: bytes) -> tuple[str, bytes, list[str]]:
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        data = file.read(_MAX_BYTES + 1)
    _check_size(name, len(data))
    return name.removesuffix(PurePosixPath(name).suffix), data, []


def _unzip(name: str, raw: bytes) -> tuple[str, bytes, list[str]]:
    """Return name and content of the one file of an archive, or of the one among notes that is a table."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        listed = archive.infolist()
        if any(member.filename == "[Content_Types].xml" for member in listed):
            raise UserError(f"{name} is a workbook of a spreadsheet; save its sheet as CSV")
        members = [member for member in listed if not member.is_dir() and not _SYSTEM_FILES.search(member.filename)]
        _check_size(name, sum(member.file_size for member in members))
        tables = members
        if len(members) > 1:
            tables = [member for member in members if _is_table_in(archive, member)]
        if len(tables) != 1:
            shown = tables or members
            names = ", ".join(member.filename for member in shown[:4]) + (", ..." if len(shown) > 4 else "") or "none"
            raise UserError(f"{name} holds {len(shown)} files ({names}); it must hold one, with bars")
        chosen = tables[0].filename
        notices = [f"{chosen} of its {len(members)} files was read, the one with a table."] if len(members) > 1 else []
        return chosen, archive.read(tables[0]), notices


def _check_size(name: str, size: int) -> None:
    if size > _MAX_BYTES:
        raise UserError(f"{name} holds more than {_MAX_BYTES >> 30} GiB when unpacked, too much for bars of one symbol")


def _is_table_in(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    with archive.open(member) as file:
        return _is_table(file.read(_HEAD_BYTES))


def _is_table(raw: bytes) -> bool:
    """Return True for packed files, Parquet, and text of which most of the first lines have five or more columns."""
    if _is_parquet(raw) or raw[:2] in (b"\x1f\x8b", b"PK"):
        return True
    head = raw[:_HEAD_BYTES].replace(b"\0", b"").replace(b"\r", b"\n")
    lines = [line for line in head.split(b"\n")[:40] if line.strip()]
    lines = lines[:-1] if len(raw) > _HEAD_BYTES and len(lines) > 1 else lines
    wide = [line for line in lines if max(line.count(separator) for separator in (b",", b";", b"\t")) >= 4]
    return len(wide) * 2 > len(lines)


def _text(name: str, raw: bytes) -> bytes:
    """Convert the bytes to UTF-8 without a byte order mark."""
    start = raw[:2000]
    encoding = ""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(start) >= 4 and start[1:40:2].strip(b"\0") == b"" and b"\0" not in start[0:40:2]:
        encoding = "utf-16-le"  # MetaTrader writes a byte order mark, other programs may drop it
    try:
        if encoding:
            raw = raw.decode(encoding).encode()
        elif raw[:3] == b"\xef\xbb\xbf":
            raw = raw[3:]
        raw = raw.rstrip(b"\x1a")  # DOS ends a file with it
        if not raw.isascii():
            raw.decode()
    except UnicodeError as error:
        where = ""
        if isinstance(error, UnicodeDecodeError):
            where = f" ({error.reason}: 0x{error.object[error.start]:02x} at byte {error.start})"
        raise UserError(f"{name} is not a text file in UTF-8 or UTF-16{where}; save it as UTF-8") from error
    if (zero := raw.find(b"\0")) >= 0:
        raise UserError(f"{name} is not a text file: it has a zero at byte {zero}; copy or download it again")
    first = raw[:200].lstrip().lower()
    if not first and not raw.strip():
        raise UserError(f"{name} is empty; it needs a header and one row per bar: {WANTED}")
    if first.startswith(_WEB_PAGE):
        line = raw.lstrip()[:60].splitlines()[0].decode(errors="replace")
        raise UserError(f"{name} row 1: {line!r} begins a web page, not bars; the download failed, repeat it: {WANTED}")
    return raw


def _with_line_ends(raw: bytes) -> tuple[bytes, list[str]]:
    """Replace CR CR LF and CR alone, which no reader of tables knows, and say how many there were."""
    if b"\r" not in raw:
        return raw, []
    characters = np.frombuffer(raw, np.uint8)
    behind = np.flatnonzero(characters == ord("\r")) + 1
    if behind[-1] < len(raw) and (characters[behind] == ord("\n")).all():
        return raw, []
    doubled = raw.count(b"\r\r\n")
    rest = raw.replace(b"\r\n", b"\n") if not doubled else re.sub(rb"\r+\n", b"\n", raw)
    alone = rest.count(b"\r")
    kinds = ((doubled, "CR CR LF"), (alone, "CR alone"))
    parts = [f"{count:,} line{' ends' if count == 1 else 's end'} in {end}" for count, end in kinds if count]
    return _LINE_END.sub(b"\n", raw), [f"{' and '.join(parts)}; each was read as one end of a line."]
