"""How flags are read: into a command's dataclass, whole numbers as people write them, ``1000000`` or ``1e6``."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

_WRITTEN = re.compile(r"[-+]?\d+(?:_\d+)*(?:\.\d*)?(?:[eE][-+]?\d{1,3})?")

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
    text = described(inspect.getdoc(kind) or "")
    return tyro.cli(kind, args=list(arguments), prog=prog, description=text, registry=FLAGS, default=default)


def described(text: str) -> str:
    """A docstring with paragraphs that fit the terminal, as tyro leaves its lines as long as they are."""
    width = shutil.get_terminal_size().columns
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(textwrap.fill(p, width, break_long_words=False, break_on_hyphens=False) for p in paragraphs)


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
