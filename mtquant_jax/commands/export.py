"""Writes what a training decides as a file that other programs run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mtquant_jax.commands.working import working
from mtquant_jax.errors import UserError
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write the decision of a finished training for other programs: networks, scales, allocation and risk layer."""

    run_dir: str
    """Directory of the training; it needs phase 2."""
    format: Literal["onnx", "mql5"] = "onnx"
    """Onnx: a zip with an ONNX model (opset 17), a manifest, and inputs and outputs of 32 bars to check it with. Mql5:
    an Expert Advisor for MetaTrader 5, to be compiled in MetaEditor."""
    output: str
    """Zip to write; of an Expert Advisor, also a new folder."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Export and check.

    Raises:
        UserError: whatever is wrong with the run, its bars or the output, or the extra onnx is missing.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(ExportCommand, arguments, prog)
    output = Path(command.output)
    if command.format == "mql5":
        return _expert_advisor(Path(command.run_dir), output)
    if output.is_dir():
        raise UserError(f"`output` {output} is a directory; give the name of a zip")
    prepare_jax()
    from mtquant_jax.deploy.export import GOLDEN_BARS, export_onnx
    from mtquant_jax.deploy.onnx_model import require_onnx
    from mtquant_jax.runs.trained_run import open_run

    require_onnx()
    trained = open_run(Path(command.run_dir))
    with working("tracing the decision"):
        try:
            difference = export_onnx(trained, output)
        except OSError as error:
            raise UserError(f"`output` {output} cannot be written: {error.strerror or error}") from error
    if difference is None:
        print(f"Wrote {output}. The package onnxruntime is not installed, so the model has not been tried.")
    else:
        print(f"Wrote {output}. Over {GOLDEN_BARS} bars, onnxruntime differs from JAX by {difference:.1e} at most.")


def _expert_advisor(run_dir: Path, output: Path) -> None:
    """Write an Expert Advisor."""
    prepare_jax()
    from mtquant_jax.deploy.mql5.export import export_mql5
    from mtquant_jax.deploy.onnx_model import require_onnx
    from mtquant_jax.runs.trained_run import open_run

    require_onnx()
    with working("tracing features, account and policies"):
        advisor = export_mql5(open_run(run_dir), output)
    print(
        f"Wrote {output}: {len(advisor.files)} files, {advisor.size / 1000:,.0f} kB. No compiler of MQL5 has seen it: "
        "compile MTQuant.mq5 in MetaEditor and follow README.md beside it."
    )
