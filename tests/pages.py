"""Documentation pages as sessions: their Python blocks, and what the page shows as their output."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"
_BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


class Block(NamedTuple):
    """One block of a page."""

    line: int  # of its first line of code
    code: str
    shown: str  # output that the page shows; empty where it shows none


def blocks_of(page: Path) -> list[Block]:
    """The Python blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [Block(text[: match.start()].count("\n") + 2, match[1], match[2] or "") for match in _BLOCK.finditer(text)]
    assert len(found) == text.count("```python")
    return found


def without_numbers(text: str) -> list[str]:
    """The words of a text; numbers depend on the processor, and columns on the width of numbers."""
    return re.sub(r"-?\d[\d.,e+:-]*", "#", text).split()
