"""What a training is of: its market, splits and settings, as every file that it leaves says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.market.periods import moment
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import as_mapping
from mtquant_jax.storage.files import read_json, write_json
from mtquant_jax.storage.records import JsonRecord

_NOT_LEARNT_FROM = ("run_dir", "data_dir", "instruments", "phases", "risk_preset", "quick_test")
_OF_MARKET = ("calibration", "start", "end")
"""Settings left out of the hash: places of files, and names of what other settings or the market's fingerprint say."""

EARLIER_VERSION = "written by an earlier version, without the identity of its training"
"""What is said of files that cannot be checked."""


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


def identity_in(content: Mapping[str, Any], where: Path) -> Identity | None:
    """The identity that a result file holds; None in files of earlier versions."""
    found = content.get("identity")
    return None if found is None else Identity.from_json(found, f"{where}, identity")


def settings_hash(mapping: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of the settings that a training learns by, given as a YAML file holds them."""
    return hashlib.sha256(json.dumps(learnt_by(mapping), sort_keys=True).encode()).hexdigest()[:16]


def learnt_by(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that count for the hash."""
    counted = {key: value for key, value in mapping.items() if key not in _NOT_LEARNT_FROM}
    market = {key: value for key, value in (counted.get("market") or {}).items() if key not in _OF_MARKET}
    return {**counted, "market": market}


def write_checkpoint_identity(path: Path, run_id: str, identity: Identity) -> None:
    """Say beside the arrays of a checkpoint whose it is."""
    write_json(path / _CHECKPOINT_FILE, {"run_id": run_id, "identity": identity.to_json()})


def check_checkpoint(path: Path, results: Mapping[str, Any], results_file: Path) -> None:
    """Refuse a checkpoint of another training than the results that name it.

    Raises:
        UserError: both are named.
    """
    file = path / _CHECKPOINT_FILE
    if not file.is_file():
        if path.is_dir() and results.get("identity") is not None:
            raise UserError(f"checkpoint {path} does not say of which training it is, but {results_file} does; {_COPY}")
        return
    found = read_json(file, f"checkpoint {path}").get("run_id")
    if found != results.get("run_id"):
        raise UserError(
            f"checkpoint {path} is of training {found}, but {results_file} is of training {results.get('run_id')}; "
            f"{_COPY}"
        )


_CHECKPOINT_FILE = "identity.json"
_COPY = "copy a run directory as a whole, or train again"
