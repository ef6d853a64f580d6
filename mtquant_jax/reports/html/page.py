"""Sections and charts of a report -> one HTML file that opens without a network and is made for looking."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.reports.html.charts import Chart
from mtquant_jax.reports.html.text import Tile, escaped, tiles
from mtquant_jax.storage.files import replacing


def require_plotly() -> Any:
    """The module that holds plotly.js.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("plotly.offline")
    except ImportError:
        raise UserError(
            "the report needs the package plotly, which is not installed; pip install plotly (in the extras eval and "
            "sweep)"
        ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What a report says; texts are plain, and are escaped when it is written."""

    title: str  # of the window
    heading: str
    bars: str  # below the heading: which bars the figures are of
    verdict: str
    tiles: Sequence[Tile]
    sections: str  # HTML
    charts: Sequence[Chart]  # those that the sections have places for
    badges: Sequence[str] = ()  # what must be read before any number
    warnings: Mapping[str, bool] = dataclasses.field(default_factory=dict)  # text -> whether it is grave
    axes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  # that charts share, by name

    def write(self, path: Path) -> None:
        """Write the file; it appears when it is whole.

        Raises:
            UserError: plotly is not installed, or the file cannot be written.
        """
        content = self._html(require_plotly().get_plotlyjs())
        try:
            with replacing(path) as temporary:
                temporary.write_text(content, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None

    def _html(self, library: str) -> str:
        data = {"shared": self.axes, "charts": [chart.data() for chart in self.charts]}
        names = re.findall(r'<section id="([\w-]+)"[^>]*><h2[^>]*>(.*?)</h2>', self.sections)
        pieces = {
            "title": escaped(self.title),
            "heading": escaped(self.heading),
            "bars": escaped(self.bars),
            "badge": "".join(f'<strong class="badge">{escaped(text)}</strong> ' for text in self.badges),
            "verdict": escaped(self.verdict),
            "warnings": self._warnings(),
            "tiles": tiles(self.tiles),
            "contents": "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in names),
            "sections": self.sections,
            "style": _asset("page.css"),
            "script": _asset("page.js"),
            "library": library,
            # "<" would end the script that holds the data.
            "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        }
        return re.sub(r"\{\{(\w+)\}\}", lambda match: pieces[match[1]], _asset("page.html"))

    def _warnings(self) -> str:
        items = "".join(
            f'<li class="{"danger" if grave else "caution"}"><b>Warning:</b> {escaped(text)}</li>'
            for text, grave in self.warnings.items()
        )
        return f'<ul class="warnings" aria-label="Warnings">{items}</ul>' if items else ""


def _asset(name: str) -> str:
    return (files("mtquant_jax.reports.html") / name).read_text(encoding="utf-8")
