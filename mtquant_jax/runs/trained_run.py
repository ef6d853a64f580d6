"""A finished training in its run directory -> its settings, results and policies."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.learning.train import start_training
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.checkpoints import Origin, checkpoint_path, restore_checkpoint
from mtquant_jax.runs.handover import restore_meta, restore_portfolio, restore_specialists
from mtquant_jax.runs.identity import identity_in, settings_hash
from mtquant_jax.runs.phase_results import read_results, read_summary
from mtquant_jax.runs.run_record import how_to_go_on, read_record
from mtquant_jax.settings.checks import parse_phases, validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training import phases
from mtquant_jax.training.phases import Plan
from mtquant_jax.training.trainer import META_CONTROLLER, PORTFOLIO, HierarchyPolicies

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

    def on_account(self, initial_capital: float | None = None, currency: str | None = None) -> TrainedRun:
        """The same training with another account; None keeps the training's own.

        Raises:
            UserError: a setting is out of range.
        """
        changes: dict[str, Any] = {"initial_capital": initial_capital, "account_currency": currency}
        given = {name: value for name, value in changes.items() if value is not None}
        if not given:
            return self
        simulation = dataclasses.replace(self.config.simulation, **given)
        config = dataclasses.replace(self.config, simulation=simulation)
        validate(config)
        return dataclasses.replace(self, config=config)

    def split_times(self, name: str) -> tuple[int, int]:
        """First and last bar of a split, seconds since 1970 UTC."""
        split = self.market["splits"].get(name)
        if split is None:
            raise UserError(f"{self.paths.training_summary} lacks the {name} split of its market; train again")
        return _seconds(split["first"]), _seconds(split["last"])

    @property
    def is_synthetic(self) -> bool:
        """Whether it was trained on a synthetic market."""
        return not self.config.data_dir

    def learnt_times(self, name: str) -> list[tuple[int, int]]:
        """First and last bar of a split in every phase, seconds since 1970 UTC; phases of one run have the same."""
        found = {self.split_times(name)}
        for phase, results in self.results.items():
            identity = identity_in(results, self.paths.phase_results(phase))
            if name in identity.splits:
                first, last = identity.splits[name]
                found.add((_seconds(first), _seconds(last)))
        return sorted(found)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A training as it was at a checkpoint: ``train_chunk(plan.program, state, plan.env_params, plan.hyper, n)``."""

    plan: Plan
    state: TrainState


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
    settings = read_yaml(paths.resolved_config, must_be_sealed=True)
    config = apply(TrainConfig(), settings, str(paths.resolved_config))
    config = dataclasses.replace(config, run_dir=str(paths.run_dir))
    missing = [phase for phase in parse_phases(config.phases) if not paths.phase_results(phase).exists()]
    if missing and (record := read_record(paths)) is not None:
        raise UserError(
            f"`run_dir` {run_dir}: the training was not finished; this goes on with it: "
            f"{how_to_go_on(run_dir, record.walk_forward)}"
        )
    if missing:
        untrained = f"phase{'s' * (len(missing) > 1)} {' and '.join(map(str, missing))}"
        raise UserError(
            f"`run_dir` {run_dir}: the training was not finished, {untrained} left no results; train "
            f"{'it' if len(missing) == 1 else 'them'} with `phases` {','.join(map(str, missing))}"
        )
    results = {phase: read_results(paths, phase, _WHAT) for phase in (1, 2, 3) if paths.phase_results(phase).exists()}
    if 1 not in results:
        raise UserError(f"`run_dir` {run_dir}: phase 1 has left no results ({paths.phase_results(1)})")
    _check_origins(paths, results)
    summary = read_summary(paths, _WHAT)
    _check_identities(paths, settings, results, summary)
    return TrainedRun(paths, config, results, summary)


def _check_origins(paths: RunPaths, results: dict[int, dict[str, Any]]) -> None:
    """Refuse a phase that was trained on other earlier ones than those that are there.

    Raises:
        UserError: both trainings are named.
    """
    for phase, key, before in ((2, "specialists_from", 1), (3, "specialists_from", 1), (3, "meta_controller_from", 2)):
        found = results.get(phase, {})
        there = results.get(before, {}).get("run_id")
        if found and found.get(key) != there:
            raise UserError(
                f"{paths.phase_results(phase)} continues phase {before} of training {found.get(key)}, but phase "
                f"{before} in {paths.run_dir} is of training {there}; train phase {phase} again"
            )


def _check_identities(
    paths: RunPaths, settings: dict[str, Any], results: dict[int, dict[str, Any]], summary: dict[str, Any]
) -> None:
    """Refuse files of different trainings.

    Raises:
        UserError: both trainings are named.
    """
    files = {paths.phase_results(phase): found for phase, found in results.items()}
    identities = {file: identity_in(found, file) for file, found in [*files.items(), (paths.training_summary, summary)]}
    for (one, identity), (other, another) in itertools.pairwise(identities.items()):
        if identity.market != another.market:
            raise UserError(
                f"{one} is of a training on market {identity.market}, but {other} of one on {another.market}; they do "
                f"not belong together. {_AGAIN}"
            )
    last = max(set(summary.get("phases") or ()) & set(results), default=max(results))
    if summary.get("run_id") != (run_id := results[last]["run_id"]):
        raise UserError(
            f"{paths.training_summary} is of training {summary.get('run_id')}, but {paths.phase_results(last)} is of "
            f"training {run_id}; they do not belong together. {_AGAIN}"
        )
    found, wanted = settings_hash(settings), identities[paths.training_summary].settings
    if found != wanted:
        raise UserError(
            f"{paths.resolved_config} holds settings {found}, but the training {summary.get('run_id')} had {wanted}; "
            f"an evaluation would trade by other rules than the policies learnt. {_AGAIN}"
        )


def restore_all(run: TrainedRun, market: Market) -> HierarchyPolicies:
    """The policies that every finished phase handed on.

    Raises:
        UserError: a checkpoint is missing, broken or of another network.
    """
    specialists = restore_specialists(run.config, run.paths, market, run.results[1])
    meta = portfolio = None
    if 2 in run.results:
        meta = restore_meta(run.config, run.paths, market, run.results[2])
    if meta is not None and 3 in run.results:
        portfolio = restore_portfolio(run.paths, run.results[3], specialists, meta)
    return HierarchyPolicies(tuple(specialists), meta, portfolio)


def scales_of(run: TrainedRun) -> dict[str, Any]:
    """Fields of `Market` that the policies were trained with: what scales observations, rewards and a day's risk."""
    scales = run.results[1].get("scales")
    if not isinstance(scales, dict) or not {"classes", "portfolio"} <= set(scales):
        raise UserError(
            f"{run.paths.phase_results(1)} lacks the scales that observations were divided by; without them "
            f"the policies would see another market than they learnt in. {_AGAIN}"
        )
    try:
        classes, portfolio = np.asarray(scales["classes"], np.float64), float(scales["portfolio"])
    except (TypeError, ValueError, OverflowError):
        classes, portfolio = np.empty(0), 0.0
    day = scales.get("bars_per_day")  # which earlier versions did not write
    others = (portfolio, *classes, *(() if day is None else (day,)))
    if classes.ndim != 1 or not all(isinstance(scale, float) and 0.0 < scale < np.inf for scale in others):
        raise UserError(f"{run.paths.phase_results(1)} has scales that are no numbers; was it changed? {_AGAIN}")
    return {"class_scale": classes, "portfolio_scale": portfolio} | ({} if day is None else {"bars_per_day": day})


def _seconds(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise UserError(f"{text!r:.60} in the results of a training is no time as 2024-01-31 09:00") from None


def open_checkpoint(run: TrainedRun, market: Market, phase: int, timesteps: int, name: str = "") -> Checkpoint:
    """A checkpoint of a finished run, from which its training goes on bit for bit.

    Args:
        run: of `open_run`.
        market: that the run was trained on, as `prepare_market` makes it of the run's settings.
        phase: 1, 2 or 3.
        timesteps: after which it was saved.
        name: of the asset class, in phase 1.

    Raises:
        UserError: there is no such class or checkpoint, or its arrays are of other settings.
    """
    names = [asset_class.name for asset_class in market.universe.classes]
    if phase == 1:
        if name not in names:
            raise UserError(f"`run_dir` {run.paths.run_dir} has no specialist {name!r}; it has {', '.join(names)}")
        plan = phases.plan_specialist(run.config, market, names.index(name))
    elif phase == 2:
        name = META_CONTROLLER
        plan = phases.plan_meta(run.config, market, restore_all(run, market).specialists)
    else:
        policies = restore_all(run, market)
        if policies.meta is None:
            raise UserError(f"`run_dir` {run.paths.run_dir} has no meta-controller; phase 3 was not trained")
        name = PORTFOLIO
        plan = phases.plan_joint(run.config, market, policies.specialists, policies.meta)
    path = checkpoint_path(run.paths, phase, name, timesteps)
    origin = Origin(run.results[phase]["run_id"], phase, name, timesteps)
    like = jax.eval_shape(functools.partial(start_training, plan.program), *plan.start_arguments)
    return Checkpoint(plan, restore_checkpoint(path, origin, like).state)
