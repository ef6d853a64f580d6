"""Damage to what a training leaves and reads: what a broken disk, a careless copy or a malicious sender may do to it.

A `Subject` is a kind of files with a way to damage and a way to read them; `judge` says what became of one mutant.
What nobody could notice is not made: a number that is changed and sealed again, as only the program itself would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import signal
import threading
import time
import warnings
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
    change_field(random, content)
    file.write_text(json.dumps(resealed(content)), encoding="utf-8")
    return f"field of another type{SEALED_AGAIN}"


def resealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a right checksum of what it says now."""
    return sealed({key: value for key, value in content.items() if key != SEAL})


def change_field(random: Random, content: Any) -> None:
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
