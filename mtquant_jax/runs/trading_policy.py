"""Model files -> the policy that acts, with all that it must be used with; nothing else of a run is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import META, SPECIALIST, HierarchyAgent, SpecialistAgent
from mtquant_jax.agents.networks import NETWORKS, MetaNetwork, NetworkKind, SpecialistNetwork
from mtquant_jax.agents.normalizer import start_normalizer
from mtquant_jax.errors import UserError
from mtquant_jax.market.features import FEATURE_NAMES, MACRO_NAMES
from mtquant_jax.market.prepare import Market, bar_interval
from mtquant_jax.market.universe import Universe, universe_of
from mtquant_jax.runs.manifest import ModelManifest, contract_hash, specialist_checksum
from mtquant_jax.settings.config import PPOConfig
from mtquant_jax.simulation.portfolio_env import RETURN_HISTORY
from mtquant_jax.simulation.portfolio_inputs import PortfolioInputs
from mtquant_jax.simulation.specialist_env import SpecialistInputs
from mtquant_jax.storage.bundles import read_bundle, read_manifest
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training import phases
from mtquant_jax.training.trainer import META_CONTROLLER
from mtquant_jax.types import AssetClass


@dataclasses.dataclass(frozen=True)
class TradingPolicy:
    """A specialist or a whole hierarchy, as it would be traded."""

    source: Path  # zip, or run directory
    policy: Policy
    agent: Any  # `SpecialistAgent` or `HierarchyAgent`
    universe: Universe
    manifest: ModelManifest  # of the specialist, or of the hierarchy's meta-controller

    def act(self, observation: Any, env_params: Any) -> jax.Array:
        """The most likely action, as the agent's environment takes it.

        Args:
            observation: of `SpecialistEnv` or `PortfolioEnv`, with any leading axes.
            env_params: the market that it is of, in the policy's scales (see `fitted`).
        """
        inputs = self.agent.inputs(observation, env_params)
        distribution = self.agent.policy(self.policy.params, self.policy.normalizers, inputs, env_params)
        action: jax.Array = self.agent.env_action(distribution.mode())
        return action

    def fitted(self, market: Market, other_contracts: bool = False) -> Market:
        """The market in the scales that the policy learnt in, once it is known to fit.

        Args:
            market: of the same classes and symbols in the same order, and of the same bars.
            other_contracts: whether contract specifications may differ from those of the training.

        Raises:
            UserError: the market has other classes, symbols, bars or contracts than the training.
        """
        mine, theirs = (
            {asset_class.name: asset_class.symbols for asset_class in universe.classes}
            for universe in (self.universe, market.universe)
        )
        if isinstance(self.agent, SpecialistAgent):
            theirs = {name: symbols for name, symbols in theirs.items() if name in mine}
        if list(mine.items()) != list(theirs.items()):
            raise UserError(f"{self.source} was trained on {_listed(mine)}; this market has {_listed(theirs)}")
        seconds = bar_interval(market.timestamps)
        if seconds != self.manifest.bar_seconds:
            raise UserError(
                f"{self.source} was trained on bars of {self.manifest.bar_seconds // 60} minutes; those of this market "
                f"are {seconds // 60} minutes apart"
            )
        found = contract_hash(market.contracts, market.universe, self.manifest.symbols)
        if not other_contracts and found != self.manifest.contracts:
            raise UserError(
                f"{self.source} was trained under other contract specifications (lot sizes, commissions, swaps or "
                "margins differ): give those of the training with `instruments`, or allow others"
            )
        return self.manifest.scales.applied(market)


def load_policy(path: Path | str) -> TradingPolicy:
    """Read what a training hands on.

    Args:
        path: the model zip of a specialist, or a directory with the models of a whole hierarchy: of a run, or of one
            seed of a walk-forward's fold.

    Raises:
        UserError: a model is missing, damaged, of other features than this program computes, or does not belong to the
            others.
    """
    path = Path(path)
    if not path.is_dir():
        return _specialist(path)
    return _hierarchy(path)


def read_model(path: Path) -> tuple[ModelManifest, Policy]:
    """One model zip: what it says of itself, and its arrays bit for bit.

    Raises:
        UserError: it is missing, damaged, or of other features than this program computes.
    """
    content = read_manifest(path)
    manifest = ModelManifest.from_json(content, str(path))
    if manifest.features != FEATURE_NAMES:
        changed = set(manifest.features) ^ set(FEATURE_NAMES)
        what = f"{', '.join(sorted(changed))} differ" if changed else "their order differs"
        raise UserError(f"{path} was trained on other features than this version computes: {what}; train again")
    _check_numbers(path, manifest)
    arrays = read_bundle(path, _like(path, manifest, content["arrays"]))
    return manifest, Policy(arrays["params"], arrays["normalizers"])


def _check_numbers(path: Path, manifest: ModelManifest) -> None:
    """Refuse numbers that no training has, before networks are built of them."""
    sizes = {"network.hidden_size": manifest.network.hidden_size, "network.width": manifest.network.width}
    sizes |= {"bar_seconds": manifest.bar_seconds, "interval": 1 if manifest.interval is None else manifest.interval}
    for name, size in sizes.items():
        if not 1 <= size <= _LARGEST_SIZE:
            raise UserError(f"{path}: {name} is {size}, which no model has")
    units = {"scales.portfolio": manifest.scales.portfolio, "action.leverage": manifest.action.leverage}
    units |= {f"scales.classes[{index}]": scale for index, scale in enumerate(manifest.scales.classes)}
    for name, unit in (*units.items(), ("action.trade_decay", 1.0 + manifest.action.trade_decay)):
        if not 0.0 < unit < float("inf"):
            raise UserError(f"{path}: {name} is not a number that a policy can be used with")


_LARGEST_SIZE = 1 << 20


def _like(path: Path, manifest: ModelManifest, arrays: dict[str, Any]) -> Any:
    """Shapes of the arrays of a model."""
    example: Any
    network: SpecialistNetwork | MetaNetwork
    if manifest.kind == SPECIALIST:
        group, network = SPECIALIST, _specialist_network(manifest)
        example = statistics = _specialist_inputs(path, arrays)
    elif manifest.kind == META_CONTROLLER:
        group, network = META, _meta_network(manifest)
        example = _portfolio_inputs(len(manifest.symbols), len(manifest.classes or ()))
        statistics = jax.eval_shape(PortfolioInputs.flat, example)
    else:
        raise UserError(f"{path} is a model of an unknown kind, {manifest.kind}")
    try:
        params = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    except Exception as error:  # whatever the networks, which may be a user's own, make of other sizes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} describes a network that cannot be built: {reason:.200}") from None
    return {"params": {group: params}, "normalizers": {group: jax.eval_shape(lambda: start_normalizer(statistics))}}


def _specialist_inputs(path: Path, arrays: dict[str, Any]) -> Any:
    """The inputs of a specialist, whose sizes are those of its statistics."""
    names = [f"normalizers.{SPECIALIST}.mean.{part}" for part in ("instruments", "market")]
    if missing := [name for name in names if name not in arrays]:
        raise UserError(f"{path} does not fit its kind, {SPECIALIST}: it has no {missing[0]}")
    shapes = (tuple(arrays[name]["shape"]) for name in names)
    return SpecialistInputs(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))  # type: ignore[arg-type]


def _portfolio_inputs(num_symbols: int, num_classes: int) -> Any:
    """The inputs of a meta-controller of that many instruments and classes."""
    pairs = num_symbols * (num_symbols - 1) // 2
    sizes = (RETURN_HISTORY, 1, 1, pairs, num_classes, num_classes, num_classes, len(MACRO_NAMES))
    return PortfolioInputs(*(jax.ShapeDtypeStruct((size,), jnp.float32) for size in sizes))  # type: ignore[arg-type]


def _specialist_network(manifest: ModelManifest) -> SpecialistNetwork:
    return _networks(manifest).specialist(manifest.network.width, manifest.network.hidden_size, initial_log_std=0.0)


def _meta_network(manifest: ModelManifest) -> MetaNetwork:
    return _networks(manifest).meta(len(manifest.classes or ()), manifest.network.hidden_size, initial_log_std=0.0)


def _networks(manifest: ModelManifest) -> NetworkKind:
    """The networks that a model was trained with."""
    name = manifest.network.kind or PPOConfig().network
    if name not in NETWORKS:
        raise UserError(f"A model was trained with the networks {name}; import the module that registers them")
    return NETWORKS[name]


def _specialist(path: Path) -> TradingPolicy:
    manifest, policy = read_model(path)
    if manifest.kind != SPECIALIST:
        raise UserError(f"{path} is a {manifest.kind}, which acts through its specialists; give the run directory")
    universe = universe_of([AssetClass(manifest.name or "", manifest.symbols, manifest.domain or "generic")])
    return TradingPolicy(path, policy, SpecialistAgent(_specialist_network(manifest)), universe, manifest)


def _hierarchy(directory: Path) -> TradingPolicy:
    paths = RunPaths(directory)
    if not paths.meta_bundle.is_file():
        raise UserError(
            f"{directory} has no meta-controller ({paths.meta_bundle}): train phase 2, or give the zip of a specialist"
        )
    meta, meta_policy = read_model(paths.meta_bundle)
    if meta.kind != META_CONTROLLER or not meta.classes:
        raise UserError(f"{paths.meta_bundle} is a {meta.kind}, not a meta-controller with its classes")
    files = [paths.specialist_bundle(name) for name in meta.classes]
    specialists = [read_model(file) for file in files]
    for name, file, (manifest, policy) in zip(meta.classes, files, specialists, strict=True):
        if manifest.name != name:
            raise UserError(f"{file} is the specialist {manifest.name}; copy the models of a run as a whole")
        _check_partner(file, manifest, paths.meta_bundle, meta)
        if (meta.specialists or {}).get(name) != specialist_checksum(policy):
            raise UserError(
                f"{file} is of another training than {paths.meta_bundle}, which learnt to give capital to another "
                "specialist; copy the models of a run as a whole"
            )
    universe = universe_of([AssetClass(m.name or "", m.symbols, m.domain or "generic") for m, _ in specialists])
    frozen = phases.stacked_specialists([policy for _, policy in specialists])
    agent = HierarchyAgent(
        _specialist_network(meta), _meta_network(meta), universe.slots, num_classes=universe.num_classes
    )
    return TradingPolicy(directory, phases.hierarchy(frozen, meta_policy), agent, universe, meta)


def _check_partner(file: Path, specialist: ModelManifest, meta_file: Path, meta: ModelManifest) -> None:
    """Refuse a specialist that is not of the meta-controller's training.

    Phase 2 leaves the specialists of phase 1 as they are; phase 3 writes all models.
    """
    symbols = (meta.classes or {}).get(specialist.name or "")
    if specialist.kind != SPECIALIST or symbols != specialist.symbols:
        raise UserError(f"{file} is not the specialist that {meta_file} allocates capital to")
    expected = {2: 1, 3: 3}.get(meta.phase)
    if specialist.identity is not None and meta.identity is not None:
        for name in ("market", "splits"):
            mine, theirs = getattr(specialist.identity, name), getattr(meta.identity, name)
            if mine != theirs:
                raise UserError(f"{file} was trained on other {name} ({mine}) than {meta_file} ({theirs})")
    same = ("seed", "network", "action", "scales", "bar_seconds")
    differing = [name for name in same if getattr(specialist, name) != getattr(meta, name)]
    if specialist.phase != expected or differing:
        what = f"its {differing[0]} differs" if differing else f"it is of phase {specialist.phase}, not {expected}"
        raise UserError(f"{file} does not belong to {meta_file} (of phase {meta.phase}): {what}")


def _listed(classes: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(symbols)}" for name, symbols in classes.items()) or "none of its classes"
