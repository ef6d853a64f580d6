"""docs/brokers.md: its session runs from top to bottom, and its table has every return code with what is done."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from mtquant_jax.deploy.return_codes import CODES, Treatment
from tests.pages import DOCS, blocks_of

PAGE = DOCS / "brokers.md"


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    shown = 0
    for block in blocks_of(PAGE):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.code, str(PAGE), "exec"), session)
        assert printed.getvalue() == block.shown, f"line {block.line}"
        shown += bool(block.shown)
    assert shown == 3
    assert (tmp_path / "live" / "trades.csv").exists() and (tmp_path / "dry" / "heartbeat.json").exists()


def test_the_table_has_every_return_code_with_what_is_done() -> None:
    done = {
        Treatment.DONE: "counted",
        Treatment.PARTIAL: Treatment.PARTIAL.value,
        Treatment.RETRY: "sent again at a fresh price, up to `tries` times",
        Treatment.NEXT_FILLING: Treatment.NEXT_FILLING.value,
        Treatment.UNCERTAIN: Treatment.UNCERTAIN.value,
        Treatment.LATER: Treatment.LATER.value,
        Treatment.REFUSED: "refused until the next bar",
    }
    found = {}
    for codes, _, what in re.findall(r"^\| (1\d{4}[^|]*) \| ([^|]*) \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE):
        found |= dict.fromkeys(map(int, re.findall(r"\d+", codes)), what)
    assert sorted(found) == sorted(CODES)
    for code, what in found.items():
        assert what.startswith(done[CODES[code].treatment]), code
