"""What a model file says of itself: what its policy was trained on, and the scales and settings it is used with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtquant_jax.runs.identity import Identity
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.storage.bundles import arrays_checksum
from mtquant_jax.storage.records import JsonRecord

if TYPE_CHECKING:  # brings JAX, which a look at a model must not wait for
    from mtquant_jax.agents.contract import Policy
    from mtquant_jax.market.prepare import Market
    from mtquant_jax.market.universe import Universe
    from mtquant_jax.types import Contracts


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """Sizes that the networks are built with."""

    hidden_size: int
    width: int  # C, instruments of the widest class
    kind: str | None = None  # as `ppo.network` names it; None for the networks of this package


@dataclasses.dataclass(frozen=True)
class ActionSettings:
    """How an action becomes a weight."""

    leverage: float  # gross exposure of a fully used class budget, as a multiple of it
    trade_decay: float  # share of the tilt that is given up per bar before the action is added
    anchor: str = "flat"  # that actions tilt
    anchor_size: float = 0.0  # its largest relative weight; 0 for a flat one

    @classmethod
    def of(cls, config: TrainConfig) -> ActionSettings:
        """Those that a training with these settings learns to act with."""
        size = 0.0 if config.anchor == "flat" else config.anchor_size
        return cls(config.simulation.leverage, config.simulation.trade_decay, config.anchor, size)

    @staticmethod
    def setting(name: str) -> str:
        """The setting that one of these numbers comes from."""
        return name if name.startswith("anchor") else f"simulation.{name}"


@dataclasses.dataclass(frozen=True)
class Scales:
    """Units of observations and rewards, measured on the training split."""

    classes: tuple[float, ...]  # [S] 1 / typical per-bar return of a fully used class budget
    portfolio: float  # 1 / typical per-bar return of the equally divided portfolio
    bars_per_day: float | None = None  # by which the risk layer scales a bar to a day; None in earlier versions

    @classmethod
    def of(cls, market: Market) -> Scales:
        """Those of the market that a policy is trained on."""
        return cls(tuple(market.class_scale.tolist()), market.portfolio_scale, market.bars_per_day)

    def applied(self, market: Market) -> Market:
        """The market in these units, whatever other bars it has."""
        return dataclasses.replace(
            market,
            class_scale=np.asarray(self.classes),
            portfolio_scale=self.portfolio,
            bars_per_day=market.bars_per_day if self.bars_per_day is None else self.bars_per_day,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelManifest(JsonRecord):
    """The manifest of a model zip; a specialist has a name and a domain, a meta-controller classes and an interval."""

    kind: str  # specialist or meta_controller
    name: str | None = None  # of the asset class
    symbols: tuple[str, ...]
    domain: str | None = None  # whose domain features describe the class
    classes: Mapping[str, tuple[str, ...]] | None = None  # name -> symbols, in order
    interval: int | None = None  # bars between two decisions of the meta-controller
    specialists: Mapping[str, str] | None = None  # name -> `arrays_checksum` of the one it learnt to give capital to
    bar_seconds: int  # most frequent distance between two bars of the training
    contracts: str  # `contract_hash` of the contract specifications that the training traded under
    phase: int  # that trained it last
    timesteps: int  # of that phase, after which it was saved
    seed: int
    features: tuple[str, ...]  # per instrument, in order
    network: NetworkSize
    action: ActionSettings
    scales: Scales
    validation: Any  # `Performance` of the portfolio, or of the specialist alone, and which of the two
    versions: Mapping[str, str]
    identity: Identity | None = None  # of the training; None in models of earlier versions


def specialist_checksum(policy: Policy) -> str:
    """What tells a specialist from every other, whatever its name."""
    return arrays_checksum({"params": policy.params, "normalizers": policy.normalizers})


def contract_hash(contracts: Contracts, universe: Universe, symbols: Sequence[str]) -> str:
    """Sixteen hexadecimal digits that differ where any contract specification of the symbols does.

    Args:
        contracts: arranged, ``[N]``.
        universe: where the symbols stand among the N.
        symbols: those that count, in order.
    """
    slots = [universe.slots[universe.symbols.index(symbol)] for symbol in symbols]
    digest = hashlib.sha256(" ".join(symbols).encode())
    for field in dataclasses.fields(contracts):
        digest.update(np.asarray(getattr(contracts, field.name), np.float32)[..., slots].tobytes())
    return digest.hexdigest()[:16]
