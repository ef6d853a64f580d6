"""A finished training -> the folder or zip of an Expert Advisor for MetaTrader 5."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.deploy.desk import TradingDesk, open_desk, symbols_of
from mtquant_jax.deploy.mql5.compiled import template
from mtquant_jax.deploy.mql5.functions import BarFunctions, Traced, traced
from mtquant_jax.deploy.mql5.golden import Golden, golden, golden_bars, golden_text
from mtquant_jax.deploy.mql5.lint import findings
from mtquant_jax.deploy.mql5.readme import readme
from mtquant_jax.deploy.mql5.rendering import render
from mtquant_jax.deploy.mql5.tables import clock_table, model_constants, text_literal, timeframe
from mtquant_jax.deploy.onnx_model import onnx_model
from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import CLOCK_NAMES
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.instruments import Instrument, select
from mtquant_jax.market.prepare import instruments_of
from mtquant_jax.runs.trading_policy import load_policy
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.storage.files import replacing

FIXED = (
    "numbers.mqh",
    "calendar.mqh",
    "settings.mqh",
    "symbols.mqh",
    "bars.mqh",
    "decision.mqh",
    "state.mqh",
    "desk.mqh",
    "golden_check.mqh",
    "guard.mqh",
    "orders.mqh",
    "journal.mqh",
)
"""Files that are the same for every model."""

GENERATED = ("features", "account_view", "risk", "order_size")
"""Names of the files of generated functions, in the order in which they need each other."""


@dataclasses.dataclass(frozen=True)
class ExpertAdvisor:
    """All files of an Expert Advisor, and what they were made of."""

    files: Mapping[str, str | bytes]
    """Name -> text or bytes."""
    traced: Traced
    functions: BarFunctions
    golden: Golden

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(content.encode() if isinstance(content, str) else content) for content in self.files.values())


def export_mql5(run: TrainedRun, path: Path) -> ExpertAdvisor:
    """Write the Expert Advisor of a run's last portfolio.

    Args:
        run: finished, with a meta-controller.
        path: a folder that is made, or a zip if it ends in ``.zip``.

    Returns:
        What was written.

    Raises:
        UserError: the run has no meta-controller, its bars have no timeframe in MetaTrader, onnx is not installed, or
            the path cannot be written.
    """
    path = Path(path)
    if path.suffix != ".zip" and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is there already and not an empty folder; give another one")
    advisor = expert_advisor(run)
    try:
        write_files(advisor.files, path, advisor_name(run.name))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    return advisor


def expert_advisor(run: TrainedRun) -> ExpertAdvisor:
    """The Expert Advisor of a run's last portfolio; raises UserError as `export_mql5`."""
    traded = load_policy(run.paths.run_dir).universe.symbols
    desk = open_desk(run.paths.run_dir, run.config, symbols_of(run.config, traded))
    return advisor_of(desk, advisor_name(run.name))


def advisor_of(desk: TradingDesk, name: str) -> ExpertAdvisor:
    """The Expert Advisor of a desk.

    Args:
        desk: of a hierarchy.
        name: letters, digits, dots and dashes.

    Raises:
        UserError: as `export_mql5`.
    """
    instruments = select(desk.symbols, instruments_of(desk.config))
    seconds, policy = desk.bar_seconds, desk.trading.policy
    timeframe(seconds)  # refused before anything is traced
    functions = BarFunctions(desk.desk, desk.market(golden_bars(instruments, seconds).timestamps))
    made = traced(functions, policy)
    found = golden(functions, made, policy, instruments, seconds)
    texts: dict[str, str] = {}
    known: list[Any] = []
    for file in GENERATED:
        body, known = render(getattr(made, file), known)
        texts[f"{file}.mqh"] = f"// Generated from the functions that train; not to be changed by hand.\n\n{body}"
    decision = onnx_model(made.decision, name)
    texts |= {file: template(file) for file in FIXED}
    texts["MTQuant.mq5"] = template("expert_advisor.mq5")
    texts["clock_table.mqh"] = clock_table(desk.config.simulation.broker_clock)
    texts["golden.mqh"] = golden_text(found)
    texts["model.mqh"] = _model_text(desk, name, instruments, made, [*texts.values(), decision.hex()])
    problems = [str(finding) for file, text in texts.items() for finding in findings(file, text)]
    if problems:
        raise AssertionError("\n".join(problems))
    texts["README.md"] = readme(name, desk, instruments)
    return ExpertAdvisor({**texts, "decision.onnx": decision}, made, functions, found)


def advisor_name(run: str) -> str:
    """A run's name in characters that a file of the terminal may have."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", run).strip("-.")[:40] or "model"


def _model_text(desk: TradingDesk, name: str, instruments: list[Instrument], made: Traced, contents: list[str]) -> str:
    """model.mqh; its number is of everything that is computed with."""
    universe = desk.desk.universe
    slots = np.where(universe.mask.reshape(-1), universe.source, -1)
    digest = hashlib.sha256("\n".join(contents).encode()).digest()
    defines: dict[str, str | int] = {
        "MODEL_NAME": text_literal(name),
        "MODEL_TIMEFRAME": timeframe(desk.bar_seconds),
        "MODEL_CURRENCY": text_literal(desk.config.simulation.account_currency.upper()),
        "MODEL_LOOK_BACK": LOOK_BACK_BARS,
        "NUM_SYMBOLS": len(instruments),
        "NUM_TRADED": len(universe.symbols),
        "NUM_SLOTS": len(slots),
        "NUM_CLOCK_COLUMNS": len(CLOCK_NAMES),
        "NUM_FEATURES": made.shapes.row.features.size,
        "NUM_INPUTS": made.shapes.num_inputs,
        "NUM_ACTIONS": made.shapes.action.size,
    }
    return model_constants(defines, int.from_bytes(digest[:8], "big") >> 1, instruments, [int(slot) for slot in slots])


def write_files(files: Mapping[str, str | bytes], path: Path, name: str) -> None:
    """Write a folder, or a zip with one folder; text is ASCII with the line ends of Windows and no byte-order mark."""
    contents = {
        file: content.replace("\n", "\r\n").encode("ascii" if file != "README.md" else "utf-8")
        if isinstance(content, str)
        else content
        for file, content in files.items()
    }
    if path.suffix == ".zip":
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in contents.items():
                archive.writestr(f"MTQuant-{name}/{file}", content)
        return
    path.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (path / file).write_bytes(content)
