"""Damage to what a training leaves and reads: what a broken disk, a careless copy or a malicious sender may do to it.

A `Subject` is a kind of files with a way to damage and a way to read them; `judge` says what became of one mutant.
What nobody could notice is not made: a number that is changed and sealed again, as only the program itself would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shutil
import signal
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import SEAL, sealed

Random = np.random.Generator

OUTCOMES = {
    "refused": "one UserError, a sentence that names the file",
    "equal": "the same result as without the damage",
    "as another file": "a file without a checksum, or with a new one, reads as the other file that it now is",
    "silently other": "another result, and no word of it",
    "traceback": "another exception",
    "too much memory": "more than 256 MB beyond what was in use before",
    "too slow": "more than 20 seconds",
}
"""Outcome -> its meaning; the last four are failures."""

FAILURES = tuple(OUTCOMES)[3:]

SEALED_AGAIN = ", sealed again"
"""How the name of a damage ends after which the checksum is right, as only someone who means it would leave it."""

_MEMORY, _SECONDS = 256e6, 20.0
_BOMB = 1 << 29  # bytes of zeros that half a megabyte of .zip unpacks to


@dataclasses.dataclass(frozen=True)
class Subject:
    """One kind of files."""

    name: str
    original: Path  # folder of intact files
    damage: Callable[[Random, Path], str]  # damages a copy of it, and says how
    read: Callable[[Path], Any]  # what the program makes of a copy; equal where the program would do the same
    is_sealed: bool = True  # whether a change must be noticed


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    mutation: str
    outcome: str  # of `OUTCOMES`
    detail: str  # the message


def judge(subject: Subject, random: Random, expected: Any, folder: Path) -> Verdict:
    """Damage a copy of a subject and read it.

    Args:
        subject: what is damaged.
        random: draws the damage.
        expected: what the intact files read as.
        folder: that the copy is made in; it is emptied.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(subject.original, folder, symlinks=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names in a .zip
        mutation = subject.damage(random, folder)
    before, start = _fresh_peak(), time.perf_counter()
    try:
        with _no_longer_than(_SECONDS):
            found = subject.read(folder)
        noticeable = subject.is_sealed and not mutation.endswith(SEALED_AGAIN)
        outcome, detail = ("equal" if found == expected else "silently other" if noticeable else "as another file"), ""
    except UserError as error:
        outcome, detail = "refused", str(error)
    except _TooSlow:
        outcome, detail = "too slow", ""
    except Exception as error:
        outcome, detail = "traceback", f"{type(error).__name__}: {error}"
    if time.perf_counter() - start > _SECONDS:
        outcome = "too slow"
    if _peak() - before > _MEMORY:
        outcome = "too much memory"
    return Verdict(mutation, outcome, detail.replace(str(folder), "...")[:300])


class _TooSlow(BaseException):
    """A reading was interrupted."""


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Interrupt a block that takes longer, where signals can: in the main thread, and not on Windows."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _fresh_peak() -> float:
    """Largest memory of this process, bytes, from now on where Linux can forget what was before."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> float:
    """Largest memory of this process since then, bytes; 0 where there is no Linux to ask."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        found = None
    return 1024.0 * float(found[1]) if found else 0.0


def intact(subject: Subject, folder: Path) -> Any:
    """What an intact copy of a subject in a folder reads as."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(subject.original, folder, symlinks=True)
    return subject.read(folder)


def damaged(random: Random, content: bytes) -> tuple[str, bytes]:
    """Bytes with one defect, and its name."""
    size = len(content)
    at = int(random.integers(max(size, 1)))
    length = min(size - at, int(random.integers(1, 64)))
    kinds: dict[str, Callable[[], bytes]] = {
        "bit flipped": lambda: content[:at] + bytes([content[at] ^ 1 << int(random.integers(8))]) + content[at + 1 :],
        "byte changed": lambda: content[:at] + random.bytes(1) + content[at + 1 :],
        "cut": lambda: content[:at],
        "beginning lost": lambda: content[at:],
        "zeroed": lambda: content[:at] + bytes(length) + content[at + length :],
        "bytes lost": lambda: content[:at] + content[at + length :],
        "bytes added": lambda: content[:at] + random.bytes(length) + content[at:],
        "repeated": lambda: content[: at + length] + content[at:],
        "continued": lambda: content + random.bytes(length),
        "emptied": lambda: b"",
    }
    name = str(random.choice(list(kinds)))
    return name, kinds[name]() if size else random.bytes(8)


def damage_file(random: Random, file: Path) -> str:
    """Damage the bytes of a file in place."""
    name, content = damaged(random, file.read_bytes())
    file.write_bytes(content)
    return name


def replace_file(random: Random, file: Path, others: Sequence[Path]) -> str:
    """Put something else in the place of a file: one of the others, a link to it, a folder, or nothing."""
    other = others[int(random.integers(len(others)))]
    file.unlink()
    kind = str(random.choice(["another file", "another file", "linked elsewhere", "a folder", "missing"]))
    if kind == "another file":
        shutil.copyfile(other, file)
    elif kind == "linked elsewhere":
        file.symlink_to(other)
    elif kind == "a folder":
        file.mkdir()
    return kind


# Models


def damage_model(random: Random, file: Path, others: Sequence[Path]) -> str:
    """Damage a model .zip; ``others`` are models of other classes and runs."""
    draw = random.random()
    if draw < 0.5:
        return damage_file(random, file)
    if draw < 0.6:
        return replace_file(random, file, others)
    name = str(random.choice(list(_ZIP_DAMAGE)))
    with zipfile.ZipFile(file) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    _ZIP_DAMAGE[name](random, file, entries)
    return name


_Entries = list[tuple[str, bytes]]


def _write_zip(file: Path, entries: _Entries, compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def _entry_added(random: Random, file: Path, entries: _Entries) -> None:
    names = ["../../x.npy", "/tmp/x.npy", "arrays/../../x.npy", "arrays/more.npy", "code.pkl", "__main__.py", "arrays/"]
    at = int(random.integers(len(entries) + 1))
    _write_zip(file, [*entries[:at], (str(random.choice(names)), _array(np.zeros(3))), *entries[at:]])


def _entry_removed(random: Random, file: Path, entries: _Entries) -> None:
    del entries[int(random.integers(len(entries)))]
    _write_zip(file, entries)


def _entry_twice(random: Random, file: Path, entries: _Entries) -> None:
    name, content = entries[int(random.integers(len(entries)))]
    other = content if random.random() < 0.5 else entries[int(random.integers(len(entries)))][1]
    _write_zip(file, [*entries, (name, other)])


def _contents_exchanged(random: Random, file: Path, entries: _Entries) -> None:
    one, two = random.choice(len(entries), 2, replace=False)
    (name, content), (other, instead) = entries[one], entries[two]
    entries[one], entries[two] = (name, instead), (other, content)
    _write_zip(file, entries)


def _array_changed(random: Random, file: Path, entries: _Entries) -> None:
    index = int(random.integers(1, len(entries)))
    name, content = entries[index]
    array = np.load(io.BytesIO(content), allow_pickle=False)
    changes: list[Callable[[], np.ndarray]] = [
        lambda: np.full_like(array, np.nan if array.dtype.kind == "f" else 7),
        lambda: np.full_like(array, np.inf if array.dtype.kind == "f" else -1),
        lambda: array[None],
        lambda: array.astype(np.float64),
        lambda: -array,
        lambda: np.array([{"a": print}], dtype=object),
        lambda: array.ravel()[:1],
    ]
    entries[index] = (name, _array(changes[int(random.integers(len(changes)))]()))
    _write_zip(file, entries)


def _array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _manifest_changed(random: Random, file: Path, entries: _Entries) -> None:
    manifest = json.loads(entries[0][1])
    _change(random, manifest)
    _write_zip(file, [("manifest.json", json.dumps(manifest).encode()), *entries[1:]])


def _manifest_sealed_again(random: Random, file: Path, entries: _Entries) -> None:
    manifest = json.loads(entries[0][1])
    _change(random, manifest)
    _write_zip(file, [("manifest.json", json.dumps(_resealed(manifest)).encode()), *entries[1:]])


def _shapes_of_a_giant(random: Random, file: Path, entries: _Entries) -> None:
    manifest = json.loads(entries[0][1])
    name = str(random.choice(list(manifest["arrays"])))
    manifest["arrays"][name]["shape"] = [int(random.choice([1 << 33, 1 << 70, -1])), 2]
    index = next(i for i, entry in enumerate(entries) if entry[0] == f"arrays/{name}.npy")
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592, 2), }"
    content = b"\x93NUMPY\x01\x00" + len(f"{head:117s}\n").to_bytes(2, "little") + f"{head:117s}\n".encode()
    entries[index] = (entries[index][0], content)
    _write_zip(file, [("manifest.json", json.dumps(_resealed(manifest)).encode()), *entries[1:]])


def _manifest_of_megabytes(random: Random, file: Path, entries: _Entries) -> None:
    kinds = [b" " * (64 << 20), b"[" * 200_000, b'{"format": "' + b"x" * (64 << 20) + b'"}', b"\xff\xfe", b"null"]
    _write_zip(file, [("manifest.json", kinds[int(random.integers(len(kinds)))]), *entries[1:]])


def _bomb(random: Random, file: Path, entries: _Entries) -> None:
    bomb = int(random.integers(len(entries)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index, (name, content) in enumerate(entries):
            if index != bomb:
                archive.writestr(name, content)
                continue
            with archive.open(name, "w") as stream:
                stream.write(content)
                for _ in range(_BOMB >> 22):
                    stream.write(_ZEROS)


_ZEROS = bytes(1 << 22)


def _other_compression(random: Random, file: Path, entries: _Entries) -> None:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    _write_zip(file, entries, methods[int(random.integers(len(methods)))])


def _encrypted(random: Random, file: Path, entries: _Entries) -> None:
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(content)):
            content[found.start() + place] |= 1
    file.write_bytes(content)


def _larger_than_said(random: Random, file: Path, entries: _Entries) -> None:
    """The central directory says that an entry is small, and it is not, or the other way round."""
    content = bytearray(file.read_bytes())
    places = [found.start() for found in re.finditer(b"PK\x01\x02", bytes(content))]
    at = places[int(random.integers(len(places)))] + int(random.choice([20, 24]))
    content[at : at + 4] = int(random.choice([0, 1, 0xFFFFFFFF, 1 << 30])).to_bytes(4, "little")
    file.write_bytes(content)


_ZIP_DAMAGE: dict[str, Callable[[Random, Path, _Entries], None]] = {
    "entry added": _entry_added,
    "entry removed": _entry_removed,
    "entry twice": _entry_twice,
    "contents exchanged": _contents_exchanged,
    "array changed": _array_changed,
    "manifest changed": _manifest_changed,
    f"manifest changed{SEALED_AGAIN}": _manifest_sealed_again,
    "shapes of a giant": _shapes_of_a_giant,
    "manifest of megabytes": _manifest_of_megabytes,
    "bomb": _bomb,
    "other compression": _other_compression,
    "encrypted": _encrypted,
    "sizes that lie": _larger_than_said,
}


# Checkpoints


def damage_checkpoint(random: Random, folder: Path, others: Sequence[Path]) -> str:
    """Damage a checkpoint; ``others`` are those of other classes, steps and runs."""
    other = others[int(random.integers(len(others)))]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = files[int(random.integers(len(files)))]
    draw = random.random()
    if draw < 0.45:
        return damage_file(random, file)
    if draw < 0.7:
        same = other / file.relative_to(folder)
        there = [same] if same.is_file() else sorted(path for path in other.rglob("*") if path.is_file())
        return replace_file(random, file, there)
    if draw < 0.8:
        (file.parent / str(random.choice(["more", ".more", "checkpoint.json~"]))).write_bytes(random.bytes(9))
        return "a file added"
    shutil.rmtree(folder)
    kind = str(random.choice(["another checkpoint", "linked elsewhere", "a file", "missing", "half of another"]))
    if kind == "another checkpoint":
        shutil.copytree(other, folder)
    elif kind == "linked elsewhere":
        folder.symlink_to(other)
    elif kind == "a file":
        folder.write_bytes(b"")
    elif kind == "half of another":
        shutil.copytree(other, folder)
        shutil.rmtree(sorted(path for path in folder.iterdir() if path.is_dir())[0])
    return kind


# Settings


def damage_settings(random: Random, file: Path) -> str:
    """Damage a YAML file."""
    if random.random() < 0.5:
        return damage_file(random, file)
    name = str(random.choice(list(_YAML_DAMAGE)))
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_bytes(_YAML_DAMAGE[name](random, lines))
    return name


def _line_of(random: Random, lines: list[str]) -> int:
    """A line that gives a value."""
    found = [index for index, line in enumerate(lines) if re.match(r"\s*\w+: \S", line)]
    return found[int(random.integers(len(found)))]


def _with_value(values: Sequence[str]) -> Callable[[Random, list[str]], bytes]:
    def change(random: Random, lines: list[str]) -> bytes:
        index = _line_of(random, lines)
        key = lines[index].partition(":")[0]
        lines[index] = f"{key}: {values[int(random.integers(len(values)))]}\n"
        return "".join(lines).encode("utf-8", "surrogatepass")

    return change


def _billion_laughs(random: Random, lines: list[str]) -> bytes:
    laughs = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"]
    for depth in range(1, int(random.integers(4, 12))):
        laughs.append(f"a{depth}: &a{depth} [{', '.join([f'*a{depth - 1}'] * 10)}]\n")
    key = str(random.choice(["symbols", "specialists", "EURUSD", "laughs", "correlations"]))
    return "".join([*laughs, f"{key}: *a{depth}\n", *lines]).encode()


def _merged_laughs(random: Random, lines: list[str]) -> bytes:
    laughs = ["b0: &b0 {x: 1, y: 2}\n"]
    laughs += [f"b{d}: &b{d} {{<<: [{', '.join([f'*b{d - 1}'] * 9)}]}}\n" for d in range(1, 9)]
    return "".join([*laughs, *lines]).encode()


def _key_twice(random: Random, lines: list[str]) -> bytes:
    index = _line_of(random, lines)
    return "".join([*lines[: index + 1], lines[index], *lines[index + 1 :]]).encode()


def _line_lost(random: Random, lines: list[str]) -> bytes:
    del lines[int(random.integers(len(lines)))]
    return "".join(lines).encode()


def _lines_exchanged(random: Random, lines: list[str]) -> bytes:
    one, two = random.integers(len(lines), size=2)
    lines[one], lines[two] = lines[two], lines[one]
    return "".join(lines).encode()


def _digit_changed(random: Random, lines: list[str]) -> bytes:
    text = "".join(lines)
    digits = [found.start() for found in re.finditer(r"\d", text)]
    at = digits[int(random.integers(len(digits)))]
    return (text[:at] + str(random.integers(10)) + text[at + 1 :]).encode()


def _huge(random: Random, lines: list[str]) -> bytes:
    text = "".join(lines)
    huge = (
        text + "# " + "x" * (16 << 20),
        text + "more: " + "[" * 3000,
        text + "more: " + "{a: " * 3000,
        text + "".join(f"k{number}: {number}\n" for number in range(200_000)),
        text + "more: '" + "y" * (16 << 20) + "'\n",
        text + "".join("  " * depth + "k:\n" for depth in range(1500)),
    )
    return huge[int(random.integers(len(huge)))].encode()


def _other_encoding(random: Random, lines: list[str]) -> bytes:
    text = "".join(lines)
    return (
        text.encode(str(random.choice(["utf-16", "utf-32", "utf-7"])))
        if random.random() < 0.6
        else (text.encode() + bytes([0xE9, 0x00, 0x1A]))
    )


_YAML_DAMAGE: dict[str, Callable[[Random, list[str]], bytes]] = {
    "not a number": _with_value([".nan", ".inf", "-.inf", "nan", "inf", "1e999", "-1e999"]),
    "absurd number": _with_value(
        ["-1", "0", "1e300", "1e18", "-9" * 12, "9" * 5000, "1e-320", "0x7fffffff", "0o17", "1_0", "4294967296"]
    ),
    "other type": _with_value(
        ["[]", "{}", "[1, 2]", "{a: 1}", "null", "''", "yes", "true", "text", "'\\0'", "2020-01-01", "[[1], [2]]"]
    ),
    "tag": _with_value(
        [
            "!!python/object/apply:os.system [id]",
            "!!binary aGk=",
            "!!int x",
            "!!set {a}",
            "!!timestamp 1",
            "!x y",
            "!!map 3",
        ]
    ),
    "alias": _with_value(["*nothing", "&a [*a]", "&b {c: *b}", "<<", "{<<: 3}", "{<<: [1]}"]),
    "odd text": _with_value(
        ["\0", "\x07", "\ufeff", "\ud800", "\u2028", "|", ">", "- a", "a: b: c", "'", '"', "%", "@"]
    ),
    "billion laughs": _billion_laughs,
    "laughs merged": _merged_laughs,
    "key twice": _key_twice,
    "line lost": _line_lost,
    "lines exchanged": _lines_exchanged,
    "digit changed": _digit_changed,
    "huge": _huge,
    "other encoding": _other_encoding,
}


# Results


def damage_results(random: Random, file: Path, others: Sequence[Path]) -> str:
    """Damage a result file; ``others`` are result files of other phases and runs."""
    draw = random.random()
    if draw < 0.4:
        return damage_file(random, file)
    if draw < 0.55:
        return replace_file(random, file, others)
    text = file.read_text(encoding="utf-8")
    if not text.startswith("{") or file.suffix != ".json":
        return damage_file(random, file)
    if draw < 0.65:
        digits = [found.start() for found in re.finditer(r"\d", text)]
        at = digits[int(random.integers(len(digits)))]
        file.write_text(f"{text[:at]}{random.integers(10)}{text[at + 1 :]}", encoding="utf-8")
        return "digit changed"
    content = json.loads(text)
    _change(random, content)
    file.write_text(json.dumps(_resealed(content)), encoding="utf-8")
    return f"field of another type{SEALED_AGAIN}"


def _resealed(content: Mapping[str, Any]) -> dict[str, Any]:
    return sealed({key: value for key, value in content.items() if key != SEAL})


def _change(random: Random, content: Any) -> None:
    """Give one field of a JSON object another type, or take it away."""
    while True:
        keys = [key for key in content if key != SEAL] if isinstance(content, dict) else list(range(len(content)))
        key = keys[int(random.integers(len(keys)))]
        if not isinstance(content[key], (dict, list)) or not content[key] or random.random() < 0.3:
            break
        content = content[key]
    before = content[key]
    others: list[Any] = [None, "text", {}, [], {"a": {}}, [[0]], -1, 1.5, True, "../../../x", 1 << 70]
    kinds = [other for other in others if type(other) is not type(before)]
    if random.random() < 0.3:
        del content[key]
    else:
        content[key] = kinds[int(random.integers(len(kinds)))]
