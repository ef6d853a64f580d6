"""The Expert Advisor's computing files, compiled as C++, against the training's own decisions on real bars.

    python benchmarks/expert_advisor_equality.py [--run-dir DIR] [--data-dir DIR] [--bars 6000]

The compiled functions and the desk follow the same bars, each by itself: features, the model's own account, what the
policies see, what the risk layer permits and the orders. The policies of the compiled side run as decision.onnx where
onnxruntime is installed. Without a run, a quick one is trained on the bars first.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import tyro
from recording import RESULTS, store

from mtquant_jax.deploy.desk import open_desk, symbols_of
from mtquant_jax.deploy.mql5.equality import Decide, decide_by_training, measure
from mtquant_jax.deploy.mql5.export import ExpertAdvisor, advisor_of
from mtquant_jax.deploy.mql5.lint import findings
from mtquant_jax.market.prepare import instruments_of, read_bars
from mtquant_jax.runs.trading_policy import load_policy
from mtquant_jax.runs.trained_run import open_run
from mtquant_jax.types import Bars

_CHECKOUT = Path(__file__).resolve().parents[1]
_REAL = _CHECKOUT.parent / "shared" / "data" / "market" / "h1"
_FIRST = 300  # bar at whose close the account opens
_COLUMNS = ("open", "high", "low", "close", "spread", "volume", "tradable")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare an exported Expert Advisor with the training that it is of."""

    run_dir: Path | None = None
    """Finished training with a meta-controller; None: a quick one."""
    data_dir: Path = _REAL
    """Bars to follow."""
    bars: int = 6000
    """How many of them, from the first on."""
    name: str = "expert_advisor_equality"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(arguments.run_dir or _trained(Path(folder) / "run", arguments.data_dir))
        config = dataclasses.replace(run.config, data_dir=str(arguments.data_dir))
        traded = load_policy(run.paths.run_dir).universe.symbols
        desk = open_desk(run.paths.run_dir, config, symbols_of(config, traded))
        advisor = advisor_of(desk, "equality")
        beside = desk.symbols[len(traded) :]
        bars = _first(read_bars(config, traded, beside, instruments_of(config)), arguments.bars)
        decide, runtime = _policies(advisor) or (decide_by_training(desk, advisor), "JAX")
        found = measure(desk, advisor, bars, _FIRST, Path(folder), decide)
    texts = {name: text for name, text in advisor.files.items() if isinstance(text, str)}
    figures = {
        "policies_run_by": runtime,
        "bytes": advisor.size,
        "lines": {name: text.count("\n") for name, text in sorted(texts.items())},
        "lint_findings": sum(len(findings(name, text)) for name, text in texts.items() if not name.endswith(".md")),
        "first_bar": int(bars.timestamps[0]),
        "last_bar": int(bars.timestamps[-1]),
        "worst_feature": max(found.features.values()),
        **dataclasses.asdict(found),
    }
    store(arguments.name, figures, arguments.results)


def _trained(folder: Path, data_dir: Path) -> Path:
    """A quick training on the bars."""
    command = [sys.executable, "-m", "mtquant_jax", "train", "--quick-test"]
    subprocess.run([*command, "--run-dir", str(folder), "--data-dir", str(data_dir)], check=True, stdout=sys.stderr)
    return folder


def _first(bars: Bars, count: int) -> Bars:
    columns = {name: getattr(bars, name)[:, :count] for name in _COLUMNS}
    return dataclasses.replace(bars, timestamps=bars.timestamps[:count], **columns)


def _policies(advisor: ExpertAdvisor) -> tuple[Decide, str] | None:
    """decision.onnx in onnxruntime, where it is installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(advisor.files["decision.onnx"], providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return (lambda inputs: session.run(None, {name: inputs})[0]), f"onnxruntime {onnxruntime.__version__}"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
