"""Turns a run's settings, policies and results into what it leaves to be read: model files, results, the summary."""

from __future__ import annotations

import dataclasses
import functools
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import SPECIALIST
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.jax_setup import device
from mtquant_jax.market.features import FEATURE_NAMES
from mtquant_jax.market.periods import moment
from mtquant_jax.market.prepare import Market, bar_interval
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.manifest import (
    ActionSettings,
    ModelManifest,
    NetworkSize,
    Scales,
    contract_hash,
    specialist_checksum,
)
from mtquant_jax.runs.run_record import RunRecord
from mtquant_jax.runs.versions import versions
from mtquant_jax.settings.config import PPOConfig, TrainConfig
from mtquant_jax.settings.yaml_files import to_yaml, write_settings
from mtquant_jax.storage.bundles import write_bundle
from mtquant_jax.storage.files import write_sealed
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training import phases
from mtquant_jax.training.diagnosis import Finding
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.trainer import META_CONTROLLER


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Writes the settings, models, results and summary of one run."""

    config: TrainConfig
    paths: RunPaths
    market: Market
    run_id: str

    @functools.cached_property
    def identity(self) -> Identity:
        """What the training is of."""
        return Identity.of(self.config, self.market)

    def write_settings(self) -> str:
        """Write the resolved settings, and return them as YAML."""
        write_settings(self.paths.resolved_config, self.config)
        return to_yaml(self.config)

    def write_specialist(self, index: int, policy: Policy, phase: int, outcome: Outcome) -> None:
        """Write the model of a class's specialist as a phase's training left it."""
        asset_class = self.market.universe.classes[index]
        manifest = ModelManifest(
            kind=SPECIALIST,
            name=asset_class.name,
            symbols=asset_class.symbols,
            domain=asset_class.domain,
            **self._manifest(phase, outcome, asset_class.symbols),
        )
        write_bundle(self.paths.specialist_bundle(asset_class.name), manifest.to_json(), _tree(policy))

    def write_meta(self, policy: Policy, phase: int, outcome: Outcome, specialists: Policy) -> None:
        """Write the model of the meta-controller as a phase's training left it, over these stacked specialists."""
        universe = self.market.universe
        alone = [phases.specialist_of(specialists, index) for index in range(universe.num_classes)]
        manifest = ModelManifest(
            kind=META_CONTROLLER,
            symbols=universe.symbols,
            classes={c.name: c.symbols for c in universe.classes},
            interval=self.config.meta_controller.interval,
            specialists={c.name: specialist_checksum(s) for c, s in zip(universe.classes, alone, strict=True)},
            **self._manifest(phase, outcome, universe.symbols),
        )
        write_bundle(self.paths.meta_bundle, manifest.to_json(), _tree(policy))

    def write_hierarchy(self, outcome: Outcome) -> None:
        """Write the models of all agents as phase 3 left them."""
        for index in range(self.market.universe.num_classes):
            self.write_specialist(index, phases.specialist_of(outcome.policy, index), 3, outcome)
        self.write_meta(phases.meta_of(outcome.policy), 3, outcome, outcome.policy)

    def _manifest(self, phase: int, outcome: Outcome, symbols: tuple[str, ...]) -> dict[str, Any]:
        """The fields of a manifest that both kinds of models have."""
        market = self.market
        return {
            "bar_seconds": bar_interval(market.timestamps),
            "contracts": contract_hash(market.contracts, market.universe, symbols),
            "phase": phase,
            "timesteps": outcome.best_timesteps,
            "seed": self.config.seed,
            "features": FEATURE_NAMES,
            "network": NetworkSize(self.config.ppo.hidden_size, market.universe.width, _network_kind(self.config)),
            "action": ActionSettings.of(self.config),
            "scales": Scales.of(market),
            "validation": {"of": "portfolio" if phase > 1 else SPECIALIST, **outcome.validation.to_json()},
            "versions": versions(),
            "identity": self.identity,
        }

    def report(self, outcome: Outcome, checkpoint: Path, model: Path, continuous: Performance) -> dict[str, Any]:
        """The report of a training in the results; ``continuous`` is the validation without lot rounding."""
        return {
            "timesteps": outcome.timesteps,
            "seconds": outcome.seconds,
            "timesteps_per_second": outcome.timesteps_per_second,
            "chunk_timesteps_per_second": outcome.chunk_rates,
            "validation": outcome.validation.to_json(),
            "validation_in_continuous_lots": continuous.to_json(),
            "evidence": None if outcome.evidence is None else outcome.evidence.to_json(),
            "training_metrics": outcome.training_metrics,
            "best_timesteps": outcome.best_timesteps,
            "best_checkpoint": self.relative(checkpoint),
            "model": self.relative(model),
            "history": [{"timesteps": timesteps, **found.to_json()} for timesteps, found in outcome.history],
        }

    def write_results(
        self, phase: int, timesteps: int, seconds: dict[str, float], result: dict[str, Any]
    ) -> dict[str, Any]:
        """Write and return the results of a phase that was to take so many timesteps."""
        head = {
            "phase": phase,
            "run_id": self.run_id,
            "market": self.market.description,
            "seed": self.config.seed,
            "timesteps_requested": timesteps,
            "seconds": seconds,
            "scales": Scales.of(self.market),
            "identity": self.identity,
        }
        return write_sealed(self.paths.phase_results(phase), {**head, **result})

    def write_summary(
        self,
        wanted: Sequence[int],
        record: RunRecord,
        seconds: dict[str, float],
        results: dict[int, dict[str, Any]],
    ) -> dict[str, Any]:
        """Write and return the summary of the run.

        Args:
            wanted: the phases of this run.
            record: of the run.
            seconds: what it took, in parts; of the last process that trained it.
            results: by phase, also of earlier runs.
        """
        summary = {
            "run_id": self.run_id,
            "started": record.started,
            "sessions": record.sessions,
            "phases": list(wanted),
            "seconds": seconds,
            "device": device(),
            "versions": versions(),
            "seed": self.config.seed,
            "market": self._describe_market(),
            "identity": self.identity,
            "diagnosis": [{"phase": phase, **finding} for phase in wanted for finding in results[phase]["diagnosis"]],
            "results": {f"phase{phase}": results[phase] for phase in wanted},
            "models": self._models(results),
            "configuration": dataclasses.asdict(self.config),
        }
        return write_sealed(self.paths.training_summary, summary)

    def _models(self, results: dict[int, dict[str, Any]]) -> dict[str, str]:
        bundles = {c.name: self.paths.specialist_bundle(c.name) for c in self.market.universe.classes}
        if {2, 3} & set(results):  # otherwise it is an earlier run's
            bundles[META_CONTROLLER] = self.paths.meta_bundle
        return {name: self.relative(path) for name, path in bundles.items() if path.exists()}

    def _describe_market(self) -> dict[str, Any]:
        splits = dataclasses.asdict(self.market.splits)
        times = self.market.timestamps
        return {
            "description": self.market.description,
            "notices": list(self.market.notices),
            "symbols": list(self.market.universe.symbols),
            "interval_seconds": bar_interval(times),
            "bars": len(times),
            "paths": int(self.market.table.open.shape[0]),
            "splits": {
                name: {"first": moment(times[first]), "last": moment(times[last - 1]), "bars": last - first}
                for name, (first, last) in splits.items()
            },
        }

    def relative(self, path: Path) -> str:
        """The path as the results name it: within the run directory."""
        return path.relative_to(self.paths.run_dir).as_posix()


def new_run_id(start: datetime) -> str:
    """YYYYMMDDTHHMMSS of the start, and four hexadecimal digits that distinguish runs of the same second."""
    return f"{start:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def listed(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Findings as the results hold them."""
    return [dataclasses.asdict(finding) for finding in findings]


def _network_kind(config: TrainConfig) -> str | None:
    """The networks as manifests name them: those of this package without a name."""
    return None if config.ppo.network == PPOConfig().network else config.ppo.network


def _tree(policy: Policy) -> dict[str, Any]:
    return {"params": policy.params, "normalizers": policy.normalizers}
