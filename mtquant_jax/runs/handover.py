"""What one phase hands to the next through the run directory, checked before anything is written."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.tilt import with_tilt
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.checkpoints import Origin, restore_policy
from mtquant_jax.runs.identity import Identity, identity_in, learnt_by, settings_hash
from mtquant_jax.runs.manifest import ActionSettings, ModelManifest
from mtquant_jax.runs.phase_results import handed_on, read_results
from mtquant_jax.runs.run_record import RunRecord, other_versions
from mtquant_jax.settings.checks import parse_phases
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.quick_test import usual
from mtquant_jax.settings.yaml_files import as_mapping
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.storage.bundles import check_symbols, read_manifest
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.records import flat_row
from mtquant_jax.training import phases
from mtquant_jax.training.trainer import META_CONTROLLER, PORTFOLIO, HierarchyPolicies


def earlier_results(
    config: TrainConfig, paths: RunPaths, wanted: Sequence[int]
) -> tuple[TrainConfig, dict[int, dict[str, Any]], list[str]]:
    """Results of earlier phases that the wanted ones build on and that are not trained in this run.

    Returns:
        The settings with the timesteps that the earlier phases had, their results, and notices for the user.

    Raises:
        UserError: results are missing, of other symbols or another budget, or do not belong together.
    """
    needed = sorted({before for phase in wanted for before in range(1, phase)} - set(wanted))
    found = {
        phase: read_results(
            paths,
            phase,
            f"phase {min(p for p in wanted if p > phase)} needs the results of phase {phase} in the run directory",
        )
        for phase in needed
    }
    if 1 in found:
        _check_specialists(config, paths, found[1])
    if 2 in found and 1 in found and found[2].get("specialists_from") != found[1]["run_id"]:
        raise UserError(
            f"phase 2 in {paths.run_dir} was trained on other specialists than those of phase 1 there; "
            "run phase 2 again (`phases` 2,3)"
        )
    if 2 in found and 1 in wanted:
        raise UserError("`phases` 1,3 would put new specialists under an old meta-controller; use `phases` 1,2,3")
    notices: list[str] = []
    for phase, results in found.items():
        config = _with_budget(config, paths, phase, results, notices)
    return config, found, notices


def _with_budget(
    config: TrainConfig, paths: RunPaths, phase: int, results: dict[str, Any], notices: list[str]
) -> TrainConfig:
    """The settings with the timesteps that an earlier phase really had, unless they contradict them."""
    identity = identity_in(results, paths.phase_results(phase))
    if identity.quick_test != config.quick_test:
        was, now = ("a quick test", "none") if identity.quick_test else ("no quick test", "one")
        raise UserError(
            f"phase {phase} in {paths.run_dir} was {was}, and this training is {now}: `quick_test` must be the same in "
            "all phases of a run; train all of them into another `run_dir`"
        )
    had, wanted, key = results.get("timesteps_requested"), config.timesteps(phase), f"phase{phase}_timesteps"
    if not isinstance(had, int) or had == wanted:
        return config
    if wanted != usual(key, config.quick_test):
        raise UserError(
            f"`{key}` {wanted}: phase {phase} in {paths.run_dir} was trained for {had} timesteps, and "
            f"`phases` {config.phases} does not train it again; leave the setting out, or train phase {phase} as well"
        )
    notices.append(f"phase {phase} was trained for {had:,} timesteps; the settings of this run say so, too")
    timesteps: dict[str, Any] = {key: had}
    return dataclasses.replace(config, **timesteps)


def check_same_market(
    config: TrainConfig, market: Market, paths: RunPaths, earlier: dict[int, dict[str, Any]]
) -> list[str]:
    """Refuse to continue on another market or other splits: what one phase learns from would be out of sample in none.

    Returns:
        Notices on settings that differ.

    Raises:
        UserError: both markets, or both splits, are named.
    """
    mine, notices = Identity.of(config, market), list[str]()
    for phase, results in earlier.items():
        identity = identity_in(results, paths.phase_results(phase))
        if identity.market != mine.market:
            raise UserError(
                f"phase {phase} in {paths.run_dir} was trained on another market: {results.get('market')} "
                f"({identity.market}); this one is {market.description} ({mine.market}). Give the settings of the "
                "earlier phase, or train all phases into another `run_dir`"
            )
        for name, (first, last) in mine.splits.items():
            if identity.splits.get(name) != (first, last):
                before = " to ".join(identity.splits.get(name, ("none",)))
                raise UserError(
                    f"phase {phase} in {paths.run_dir} was trained with other splits: its {name} split is {before}, "
                    f"and here it is {first} to {last}; give `market.train_fraction`, `market.validation_fraction` and "
                    "`market.gap_bars` as they were"
                )
        if identity.settings != mine.settings:
            notices += _changed_settings(config, paths, phase, identity)
    return notices


def check_same_training(before: RunRecord, config: TrainConfig, market: Market, paths: RunPaths) -> list[str]:
    """Refuse to go on with a training on another market, other splits or other settings.

    Returns:
        Notices on what may differ, and does.

    Raises:
        UserError: what differs.
    """
    mine, advice = Identity.of(config, market), "resume it as it began, or train into another `run_dir`"
    if before.identity.settings != mine.settings:
        unknown = "which ones is no longer known, or they are new in this version of the package"
        changed = _changed(config, paths, before.identity) or unknown
        raise UserError(f"`run_dir` {paths.run_dir} was trained with other settings: {changed}; {advice}")
    if before.identity.market != mine.market:
        raise UserError(
            f"`run_dir` {paths.run_dir} was trained on another market ({before.identity.market}) than this one, "
            f"{market.description} ({mine.market}): bars, contracts or classes differ; {advice}"
        )
    if before.identity.splits != mine.splits:
        raise UserError(f"`run_dir` {paths.run_dir} was trained with other splits; {advice}")
    if before.phases != tuple(parse_phases(config.phases)):
        was = ",".join(map(str, before.phases))
        raise UserError(f"`phases` {config.phases}: the training in {paths.run_dir} is of phases {was}; {advice}")
    if changed := other_versions(before.versions):
        return [f"resumed with other versions: {changed}; it may end differently than without the break"]
    return []


def _changed_settings(config: TrainConfig, paths: RunPaths, phase: int, identity: Identity) -> list[str]:
    """A notice on the settings that differ from those of an earlier phase, where they are still known."""
    changed = _changed(config, paths, identity)
    if changed is None:
        return [f"phase {phase} was trained with other settings"]
    return [f"phase {phase} was trained with other settings: {changed}"] if changed else []


def _changed(config: TrainConfig, paths: RunPaths, identity: Identity) -> str | None:
    """The settings that differ from those of an identity, in words; None where those are no longer known."""
    then = read_yaml(paths.resolved_config) if paths.resolved_config.is_file() else {}
    if settings_hash(then) != identity.settings:
        return None
    before, now = (flat_row(learnt_by(mapping)) for mapping in (then, as_mapping(config)))
    changed = [
        f"`{key.replace('/', '.')}` {before[key]}, now {now.get(key)}" for key in before if before[key] != now.get(key)
    ]
    return "; ".join(changed)


def _check_specialists(config: TrainConfig, paths: RunPaths, results: dict[str, Any]) -> None:
    """Whether the specialists of phase 1 are those the configuration asks for."""
    for name, settings in config.specialists.items():
        there = results.get("specialists") or {}
        if name not in there:
            raise UserError(f"{paths.phase_results(1)} has no specialist {name}; it has {', '.join(there) or 'none'}")
        bundle = paths.specialist_bundle(name)
        manifest = ModelManifest.from_json(read_manifest(bundle), str(bundle))
        check_symbols(bundle, manifest.symbols, settings.symbols)
        _check_action(config, bundle, manifest)


def _check_action(config: TrainConfig, bundle: Path, manifest: ModelManifest) -> None:
    """Whether an action of a specialist still means the same trade."""
    for name, value in dataclasses.asdict(ActionSettings.of(config)).items():
        had, key = getattr(manifest.action, name), ActionSettings.setting(name)
        if had != value:
            raise UserError(
                f"{bundle} was trained with `{key}` {had}, and here it is {value}: its actions would "
                "mean other trades; give the setting of the earlier phase"
            )


def restore_policies(
    config: TrainConfig, paths: RunPaths, market: Market, earlier: dict[int, dict[str, Any]]
) -> HierarchyPolicies:
    """The policies of earlier phases, before anything is written: a network of another size is refused here."""
    if 1 not in earlier:
        return HierarchyPolicies()
    specialists = tuple(restore_specialists(config, paths, market, earlier[1]))
    if 2 not in earlier:
        return HierarchyPolicies(specialists)
    meta = restore_meta(config, paths, market, earlier[2])
    return HierarchyPolicies(specialists, meta)


def restore_specialists(config: TrainConfig, paths: RunPaths, market: Market, results: dict[str, Any]) -> list[Policy]:
    """Phase 1's best specialists in the order of the classes, by its results."""
    reports = results.get("specialists") or {}
    # Classes are padded to the widest: all specialists have the shapes of the first.
    like = jax.eval_shape(functools.partial(phases.start_specialist, config, market, 0))
    names = [asset_class.name for asset_class in market.universe.classes]
    return [_restored(paths, 1, name, results, reports.get(name), like) for name in names]


def restore_meta(config: TrainConfig, paths: RunPaths, market: Market, results: dict[str, Any]) -> Policy:
    """Phase 2's best meta-controller, by its results."""
    like = jax.eval_shape(functools.partial(phases.start_meta, config, market))
    return _restored(paths, 2, META_CONTROLLER, results, results.get(META_CONTROLLER), like)


def restore_portfolio(paths: RunPaths, results: dict[str, Any], specialists: Sequence[Policy], meta: Policy) -> Policy:
    """Phase 3's best hierarchy, by its results; it has the shapes of those that it was made of."""
    like = jax.eval_shape(lambda: phases.hierarchy(phases.stacked_specialists(specialists), meta))
    return _restored(paths, 3, PORTFOLIO, results, results.get(PORTFOLIO), like)


def restore_handed_on(
    paths: RunPaths, phase: int, name: str, results: dict[str, Any], report: Any, like: Policy
) -> Policy:
    """The policy that results mean, with all of its tilt, once its checkpoint is known to be the one that they name."""
    handed = handed_on(paths, phase, report, name)
    path = _inside(paths, handed.best_checkpoint, phase)
    return restore_policy(path, Origin(results["run_id"], phase, name, handed.best_timesteps), like)


def _restored(paths: RunPaths, phase: int, name: str, results: dict[str, Any], report: Any, like: Policy) -> Policy:
    """The policy that results mean, with as much of its tilt as they say."""
    policy = restore_handed_on(paths, phase, name, results, report, like)
    evidence = handed_on(paths, phase, report, name).evidence
    return with_tilt(policy, evidence.tilt) if evidence else policy


def _inside(paths: RunPaths, checkpoint: str, phase: int) -> Path:
    """The path of a checkpoint in the run directory.

    Raises:
        UserError: it leads out of it.
    """
    path = paths.run_dir / checkpoint
    if "\0" in checkpoint or not path.resolve().is_relative_to(paths.run_dir.resolve()):
        raise UserError(
            f"{paths.phase_results(phase)} names a checkpoint outside of the run directory: {checkpoint!r:.100}"
        )
    return path
