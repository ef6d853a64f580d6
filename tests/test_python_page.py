"""docs/python.md: every block runs after those above it, and prints what the page shows, numbers apart."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def without_numbers(text: str) -> list[str]:
    """The words of a text; numbers depend on the processor, and columns on the width of numbers."""
    return re.sub(r"-?\d[\d.,e+:-]*", "#", text).split()


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, session = PAGE.read_text(encoding="utf-8"), {}
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    for block in blocks:
        code, shown = block.groups()
        line = text[: block.start()].count("\n") + 2
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), session)
        assert without_numbers(printed.getvalue()) == without_numbers(shown or ""), f"line {line}"
