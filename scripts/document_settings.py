"""Writes the tables of settings in docs/configuration.md from the settings' own fields; the text around them stays."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.fields import Setting, fields_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

_TYPES = {int: "whole number", float: "number", bool: "true/false", str: "text"}
_HEAD = "| key | type | default | unit | meaning | kind | compiles |\n|---|---|---|---|---|---|---|\n"


def documented(page: str) -> str:
    """The page with a fresh table below each heading of a group of settings.

    Raises:
        ValueError: the page has no heading with a table for a group.
    """
    groups: dict[str, list[Setting]] = {}
    for setting in fields_of(TrainConfig):
        groups.setdefault(setting.key.rpartition(".")[0] or "Top level", []).append(setting)
    for name, settings in groups.items():
        table = re.compile(rf"(^### {re.escape(name)}\n(?:[^#|\n].*\n|\n)*)(?:\|.*\n)+", re.MULTILINE)
        if len(table.findall(page)) != 1:
            raise ValueError(f"one heading ### {name} with a table below it is needed")
        rows = _HEAD + "".join(map(_row, settings))
        page = table.sub(lambda found, rows=rows: found[1] + rows, page)
    return page


def _row(setting: Setting) -> str:
    limits = f" {setting.range.text}" if setting.range else ""
    cells = (
        f"`{setting.key.rpartition('.')[2]}`",
        _type(setting.type) + limits,
        _shown(setting.default),
        setting.unit,
        setting.help,
        setting.change.kind,
        setting.change.compiles or "-",
    )
    return "| " + " | ".join(cells) + " |\n"


def _type(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " / ".join(typing.get_args(kind))
    return "list" if typing.get_origin(kind) is tuple else _TYPES[kind]


def _shown(value: Any) -> str:
    """A default as YAML would write it; nothing where it is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else "" if value in ("", ()) else str(value)


if __name__ == "__main__":
    PAGE.write_text(documented(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
