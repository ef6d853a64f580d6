"""docs/python.md: every block runs after those above it, and prints what the page shows, numbers apart."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from tests.pages import DOCS, blocks_of, without_numbers

PAGE = DOCS / "python.md"


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    for block in blocks_of(PAGE):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.code, str(PAGE), "exec"), session)
        assert without_numbers(printed.getvalue()) == without_numbers(block.shown), f"line {block.line}"
