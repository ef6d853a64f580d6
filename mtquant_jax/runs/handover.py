"""What one phase hands to the next through the run directory, checked before anything is written."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax

from mtquant_jax.agents.contract import Policy
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.checkpoints import restore_policy
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.storage.bundles import check_symbols, read_manifest
from mtquant_jax.storage.files import read_json
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training import phases
from mtquant_jax.training.trainer import META_CONTROLLER, HierarchyPolicies


def earlier_results(config: TrainConfig, paths: RunPaths, wanted: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Results of earlier phases that the wanted ones build on and that are not trained in this run.

    Raises:
        UserError: they are missing, are of other symbols, or do not belong together.
    """
    needed = sorted({before for phase in wanted for before in range(1, phase)} - set(wanted))
    found = {
        phase: read_json(
            paths.phase_results(phase),
            f"phase {min(p for p in wanted if p > phase)} needs the results of phase {phase} in the run directory",
        )
        for phase in needed
    }
    if 1 in found:
        _check_specialists(config, paths, found[1])
    if 2 in found and 1 in found and found[2]["specialists_from"] != found[1]["run_id"]:
        raise UserError(
            f"phase 2 in {paths.run_dir} was trained on other specialists than those of phase 1 there; "
            "run phase 2 again (`phases` 2,3)"
        )
    if 2 in found and 1 in wanted:
        raise UserError("`phases` 1,3 would put new specialists under an old meta-controller; use `phases` 1,2,3")
    return found


def _check_specialists(config: TrainConfig, paths: RunPaths, results: dict[str, Any]) -> None:
    """Whether the specialists of phase 1 are those the configuration asks for."""
    for name, settings in config.specialists.items():
        if name not in results.get("specialists", {}):
            raise UserError(
                f"{paths.phase_results(1)} has no specialist {name}; "
                f"it has {', '.join(results.get('specialists', {})) or 'none'}"
            )
        bundle = paths.specialist_bundle(name)
        check_symbols(bundle, read_manifest(bundle), settings.symbols)


def restore_policies(
    config: TrainConfig, paths: RunPaths, market: Market, earlier: dict[int, dict[str, Any]]
) -> HierarchyPolicies:
    """The policies of earlier phases, before anything is written: a network of another size is refused here."""
    if 1 not in earlier:
        return HierarchyPolicies()
    specialists = tuple(restore_specialists(config, paths, market, earlier[1]["specialists"]))
    if 2 not in earlier:
        return HierarchyPolicies(specialists)
    meta = restore_meta(config, paths, market, earlier[2][META_CONTROLLER]["best_checkpoint"])
    return HierarchyPolicies(specialists, meta)


def restore_specialists(config: TrainConfig, paths: RunPaths, market: Market, reports: dict[str, Any]) -> list[Policy]:
    """Phase 1's best specialists in the order of the classes."""
    # Classes are padded to the widest: all specialists have the shapes of the first.
    like = jax.eval_shape(functools.partial(phases.start_specialist, config, market, 0))
    checkpoints = [reports[asset_class.name]["best_checkpoint"] for asset_class in market.universe.classes]
    return [restore_policy(paths.run_dir / checkpoint, like) for checkpoint in checkpoints]


def restore_meta(config: TrainConfig, paths: RunPaths, market: Market, checkpoint: str) -> Policy:
    """Phase 2's best meta-controller."""
    return restore_policy(
        paths.run_dir / checkpoint, jax.eval_shape(functools.partial(phases.start_meta, config, market))
    )


def restore_portfolio(paths: RunPaths, checkpoint: str, specialists: Sequence[Policy], meta: Policy) -> Policy:
    """Phase 3's best hierarchy, which has the shapes of those that it was made of."""
    like = jax.eval_shape(lambda: phases.hierarchy(phases.stacked_specialists(specialists), meta))
    return restore_policy(paths.run_dir / checkpoint, like)
