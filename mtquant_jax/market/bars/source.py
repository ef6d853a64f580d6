"""Turns a path into the bytes of one table, unpacked (gzip, zip) and in UTF-8; refuses files that are no tables."""

from __future__ import annotations

import dataclasses
import gzip
import io
import zipfile
import zlib
from pathlib import Path

from mtquant_jax.errors import UserError

_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
WANTED = (
    "time,open,high,low,close[,volume[,spread]], or a MetaTrader, Dukascopy, HistData, Lean or yfinance file (docs/"
    "bar_files.md)"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """The unpacked content of a bar file."""

    name: str
    data: bytes  # UTF-8 text without a byte order mark, or Parquet
    is_parquet: bool
    packing: str  # "gzip", "zip" or ""


def read_source(path: Path) -> Source:
    """Read and unpack one file.

    Raises UserError for a file that cannot be read or unpacked (a truncated gzip), an archive that does not hold
    exactly one file, an empty file, a web page and anything that is not text in UTF-8 or UTF-16.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from error
    if raw[:4] == b"PAR1":
        return Source(path.name, raw, True, "")
    raw, packing = _unpack(path, raw)
    if raw[:4] == b"PAR1":
        return Source(path.name, raw, True, packing)
    return Source(path.name, _text(path.name, raw), False, packing)


def _unpack(path: Path, raw: bytes) -> tuple[bytes, str]:
    try:
        if raw[:2] == b"\x1f\x8b" or (raw and path.suffix.lower() == ".gz"):
            return gzip.decompress(raw), "gzip"
        if raw[:4] == b"PK\x03\x04" or (raw and path.suffix.lower() == ".zip"):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                members = [member for member in archive.namelist() if not member.endswith("/")]
                if len(members) != 1:
                    names = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "") or "none"
                    raise UserError(f"{path.name} holds {len(members)} files ({names}); it must hold one, with bars")
                return archive.read(members[0]), "zip"
    except EOFError as error:
        raise UserError(f"{path.name} is truncated: {error}; copy or download it again") from error
    except (OSError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path.name} cannot be unpacked: {error}; copy or download it again") from error
    return raw, ""


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
        if not raw.isascii():
            raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not a text file in UTF-8 or UTF-16 ({error.reason}: 0x{error.object[error.start]:02x} at byte "
            f"{error.start}); save it as UTF-8"
        ) from error
    if (zero := raw.find(b"\0")) >= 0:
        raise UserError(f"{name} is not a text file: it has a zero at byte {zero}; copy or download it again")
    first = raw[:200].lstrip().lower()
    if not first and not raw.strip():
        raise UserError(f"{name} is empty; it needs a header and one row per bar: {WANTED}")
    if first.startswith(_WEB_PAGE):
        line = raw.lstrip()[:60].splitlines()[0].decode(errors="replace")
        raise UserError(f"{name} row 1: {line!r} begins a web page, not bars; the download failed, repeat it: {WANTED}")
    return raw
