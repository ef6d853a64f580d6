"""How flags are read: whole numbers as people write them, ``1000000``, ``1_000_000`` or ``1e6``."""

from __future__ import annotations

import re
from decimal import Decimal

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

_WRITTEN = re.compile(r"[-+]?\d+(?:_\d+)*(?:\.\d*)?(?:[eE][-+]?\d{1,3})?")

FLAGS = ConstructorRegistry()
"""How flags are read; every command gives it to tyro."""


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
