"""A finished training in its run directory -> its settings, results and policies."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.handover import restore_meta, restore_portfolio, restore_specialists
from mtquant_jax.settings.checks import parse_phases
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, read_yaml
from mtquant_jax.storage.files import read_json
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training.trainer import META_CONTROLLER, HierarchyPolicies

_AGAIN = "Train all phases again"


_WHAT = "evaluation needs a finished training"


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run directory says of its training; nothing of it is changed by reading."""

    paths: RunPaths
    config: TrainConfig
    results: dict[int, dict[str, Any]]  # of every finished phase
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        """The run directory's name."""
        return self.paths.run_dir.name

    @property
    def run_id(self) -> str:
        """Of the last phase: every training has one of its own."""
        return str(self.results[max(self.results)]["run_id"])

    @property
    def market(self) -> dict[str, Any]:
        """The summary's description of the market trained on."""
        description: dict[str, Any] = self.summary["market"]
        return description

    def split_times(self, name: str) -> tuple[int, int]:
        """First and last bar of a split, seconds since 1970 UTC."""
        split = self.market["splits"][name]
        return _seconds(split["first"]), _seconds(split["last"])


def open_run(run_dir: Path) -> TrainedRun:
    """Read what a training left.

    Raises:
        UserError: there is no run, it has not been finished, or its files do not belong together.
    """
    paths = RunPaths(run_dir)
    if not paths.run_dir.is_dir():
        raise UserError(f"`run_dir` {run_dir}: there is no such directory")
    if not paths.resolved_config.is_file():
        raise UserError(f"`run_dir` {run_dir} holds no training: there is no {paths.resolved_config}")
    config = apply(TrainConfig(), read_yaml(paths.resolved_config), str(paths.resolved_config))
    config = dataclasses.replace(config, run_dir=str(paths.run_dir))
    missing = [phase for phase in parse_phases(config.phases) if not paths.phase_results(phase).is_file()]
    if missing:
        phases = f"phase{'s' * (len(missing) > 1)} {' and '.join(map(str, missing))}"
        raise UserError(
            f"`run_dir` {run_dir}: the training was not finished, {phases} left no results; train "
            f"{'it' if len(missing) == 1 else 'them'} with `phases` {','.join(map(str, missing))}"
        )
    results = {
        phase: read_json(paths.phase_results(phase), _WHAT)
        for phase in (1, 2, 3)
        if paths.phase_results(phase).is_file()
    }
    if 1 not in results:
        raise UserError(f"`run_dir` {run_dir}: phase 1 has left no results ({paths.phase_results(1)})")
    results = _that_belong_together(results)
    summary = read_json(paths.training_summary, _WHAT)
    for key in ("splits", "interval_seconds", "symbols"):
        if key not in summary.get("market", {}):
            raise UserError(f"{paths.training_summary} lacks {key} of its market; train again to evaluate")
    return TrainedRun(paths, config, results, summary)


def _that_belong_together(results: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Without later phases that were trained on other earlier ones."""
    kept = {1: results[1]}
    for phase in (2, 3):
        found = results.get(phase)
        same_specialists = found is not None and found.get("specialists_from") == results[1]["run_id"]
        same_meta = phase == 2 or (
            2 in kept and found is not None and found.get("meta_controller_from") == kept[2]["run_id"]
        )
        if found is None or not (same_specialists and same_meta):
            break
        kept[phase] = found
    return kept


def restore_all(run: TrainedRun, market: Market) -> HierarchyPolicies:
    """The policies that every finished phase handed on.

    Raises:
        UserError: a checkpoint is missing, broken or of another network.
    """
    specialists = restore_specialists(run.config, run.paths, market, run.results[1]["specialists"])
    meta = portfolio = None
    if 2 in run.results:
        meta = restore_meta(run.config, run.paths, market, run.results[2][META_CONTROLLER]["best_checkpoint"])
    if meta is not None and 3 in run.results:
        portfolio = restore_portfolio(run.paths, run.results[3]["portfolio"]["best_checkpoint"], specialists, meta)
    return HierarchyPolicies(tuple(specialists), meta, portfolio)


def _scales(run: TrainedRun) -> dict[str, Any]:
    """What scales observations and rewards, as the training measured it on its own training split."""
    scales = run.results[1].get("scales")
    if not isinstance(scales, dict) or not {"classes", "portfolio"} <= set(scales):
        raise UserError(
            f"{run.paths.phase_results(1)} lacks the scales that observations were divided by; without them "
            f"the policies would see another market than they learnt in. {_AGAIN}"
        )
    try:
        classes, portfolio = np.asarray(scales["classes"], np.float64), float(scales["portfolio"])
    except (TypeError, ValueError):
        raise UserError(
            f"{run.paths.phase_results(1)} has scales that are no numbers; was it changed? {_AGAIN}"
        ) from None
    return {"class_scale": classes, "portfolio_scale": portfolio}


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp())
