"""How flags are read: into a command's dataclass, whole numbers as people write them, ``1000000`` or ``1e6``."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TextIO, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

_WRITTEN = re.compile(r"[-+]?\d+(?:_\d+)*(?:\.\d*)?(?:[eE][-+]?\d{1,3})?")

_COLOUR = re.compile(r"\x1b\[[\d;]*m")

FLAGS = ConstructorRegistry()
"""How flags are read; every command gives it to tyro."""

_Command = TypeVar("_Command")


def parsed(kind: type[_Command], arguments: Sequence[str], prog: str, default: Any = tyro.MISSING_NONPROP) -> _Command:
    """The command that arguments say.

    Args:
        kind: its dataclass; fields are the flags, the text below a field its help.
        arguments: after its name.
        prog: name of the program in help and messages.
        default: a command with the values of flags that are not given; left out: those of the class.

    Raises:
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """

    def parse() -> _Command:
        return tyro.cli(kind, args=list(arguments), prog=prog, registry=FLAGS, default=default)

    return with_short_lines(parse) if {"-h", "--help"} & set(arguments) else parse()


def with_short_lines(command: Callable[[], _Command], usage: str = "") -> _Command:
    """Run what may print help; sentences above the frames, which tyro leaves long, are wrapped to the terminal.

    Args:
        command: what is run.
        usage: what the help begins with in place of tyro's line, which breaks a long list of commands within a name.
    """
    shown, width = _Like(sys.stdout), shutil.get_terminal_size().columns
    try:
        with contextlib.redirect_stdout(shown):
            return command()
    finally:
        lines = shown.getvalue().splitlines()
        if usage and "" in lines and _COLOUR.sub("", lines[0]).startswith("usage: "):
            lines[: lines.index("")] = [f"usage: {usage}"]
        for line in lines:
            framed = set(line) & set("╭│╰|")
            print(line if framed or len(line) <= width else textwrap.fill(line, width, break_on_hyphens=False))


class _Like(io.StringIO):
    """Takes what is printed to a stream, and is coloured as that is."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream, in lower case."""
        return (self._stream.encoding or "ascii").lower()  # tyro draws frames for "utf-8" alone

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()


def whole_number(text: str) -> int:
    """The whole number that a text is.

    Raises:
        ValueError: it is none; the message says how one is written.
    """
    if _WRITTEN.fullmatch(text):
        number = Decimal(text.replace("_", ""))
        if number == number.to_integral_value():
            return int(number)
    raise ValueError(f"{text} is not a whole number; write one such as 1000000, 1_000_000 or 1e6")


@FLAGS.primitive_rule
def _whole_number_flag(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Flags of whole numbers, as `whole_number` reads them."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda texts: whole_number(texts[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )
