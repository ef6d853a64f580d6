"""Damage to settings: YAML that is hostile, or was edited by a hand that slipped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mtquant_jax.reference.damage import Random, damage_file


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
