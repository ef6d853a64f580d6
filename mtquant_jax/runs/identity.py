"""What a training is of: its market, splits and settings, as every file that it leaves says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtquant_jax.market.periods import moment
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import as_mapping
from mtquant_jax.storage.records import JsonRecord, from_json

if TYPE_CHECKING:  # brings JAX, which a look at a run must not wait for
    from mtquant_jax.market.prepare import Market

_NOT_LEARNT_FROM = (
    "run_dir",
    "data_dir",
    "instruments",
    "phases",
    "preset",
    "risk_preset",
    "quick_test",
    "keep",
    "tracker",
    "devices",
)
_OF_MARKET = ("calibration", "start", "end")
"""Settings left out of the hash: places of files and devices, and names of what other settings or the market's
fingerprint say."""


@dataclasses.dataclass(frozen=True)
class Identity(JsonRecord):
    """What a training is of; files of two trainings are told apart by it."""

    market: str  # fingerprint of bars, contracts and classes
    splits: Mapping[str, tuple[str, str]]  # split -> open times of its first and last bar, "YYYY-MM-DD HH:MM" UTC
    settings: str  # hash of the settings that a training learns by
    quick_test: bool

    @classmethod
    def of(cls, config: TrainConfig, market: Market) -> Identity:
        """That of a training with these settings on this market."""
        times = market.timestamps
        splits = {
            name: (moment(times[first]), moment(times[last - 1]))
            for name, (first, last) in dataclasses.asdict(market.splits).items()
        }
        return cls(market.fingerprint, splits, settings_hash(as_mapping(config)), config.quick_test)


def identity_in(content: Mapping[str, Any], where: Path) -> Identity:
    """The identity that a result file holds.

    Raises:
        UserError: it holds none.
    """
    return from_json(Identity, content.get("identity"), f"{where}, identity")


def settings_hash(mapping: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of the settings that a training learns by, given as a YAML file holds them."""
    return hashlib.sha256(json.dumps(learnt_by(mapping), sort_keys=True).encode()).hexdigest()[:16]


def learnt_by(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that count for the hash."""
    counted = {key: value for key, value in mapping.items() if key not in _NOT_LEARNT_FROM}
    market = {key: value for key, value in (counted.get("market") or {}).items() if key not in _OF_MARKET}
    return {**counted, "market": market}
