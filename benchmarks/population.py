"""Population-based training (Jaderberg et al. 2017) against random search at equal budget, with the same first draws.

    python benchmarks/population.py [--repeats 6] [--members 16]

Both train the forex specialist with the same settings drawn at random. In the population, after every tenth of the
training the worst quarter goes on from copies of the best quarter, by its score on the validation split, with settings
that are 0.8 or 1.25 times theirs. The policy with the best validation of each is judged on a fresh synthetic market.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from recording import RESULTS, shares, store

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.performance import score
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.layers import load_config
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.observer import Member, Progress, Stopped, TrainingObserver
from mtquant_jax.training.runner import kept
from mtquant_jax.training.saved import SavedTraining
from mtquant_jax.training.trainer import TrainedHierarchy, train_hierarchies
from mtquant_jax.training.validation import Validator

_RANGES = {
    "specialists.forex.learning_rate": (1e-4, 1e-2),
    "ppo.clip_range": (0.1, 0.4),
    "ppo.weight_decay": (0.1, 10.0),
}  # drawn by factors
_FACTORS = (0.8, 1.25)
_FRESH_SEED = 1000


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare population-based training with random search."""

    repeats: int = 6
    """Pairs of both, with other draws."""
    members: int = 16
    """Of the population, and trials of the search."""
    timesteps: int = 100_000
    """Of each member."""
    name: str = "population"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


class Population(TrainingObserver):
    """Keeps the states of all members, and stops the training when it is time to look at them."""

    def __init__(self) -> None:
        self.saved: dict[int, SavedTraining] = {}
        self.scores: dict[int, float] = {}
        self._looks = False

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> list[SavedTraining] | None:
        """Where each member is to go on."""
        if not self.saved:
            return None
        return [copied(self.saved[member.hierarchy]) for member in members]

    def checkpoint(self, member: Member, saved: SavedTraining) -> None:
        """Keep it."""
        self.saved[member.hierarchy] = copied(saved)

    def chunk(self, progress: Progress) -> None:
        """Note the score."""
        if progress.validation is not None:
            self.scores[progress.member.hierarchy] = score(progress.validation)
            self._looks = progress.timesteps < progress.total_timesteps

    def stops(self) -> bool:
        """Whether all have just been looked at, before the end."""
        looks, self._looks = self._looks, False
        return looks


def copied(saved: SavedTraining) -> SavedTraining:
    """The state in buffers of its own."""
    return dataclasses.replace(saved, state=jax.tree.map(jnp.asarray, kept(saved.state)))


def main(arguments: Arguments) -> None:
    """Train both, judge and store."""
    prepare_jax()
    config = dataclasses.replace(load_config([])[0], phases="1", phase1_timesteps=arguments.timesteps)
    config = dataclasses.replace(config, save_freq=arguments.timesteps // 10)
    market, compiler = prepare_market(config), Compiler()
    fresh = Validator(config, prepare_market(dataclasses.replace(config, seed=_FRESH_SEED)), compiler)
    found: dict[str, list[float]] = {"random": [], "population": []}
    for repeat in range(arguments.repeats):
        drawing = np.random.default_rng(repeat)
        configs = [drawn(config, drawing, member) for member in range(arguments.members)]
        for name, trained in (
            ("random", train_hierarchies(configs, market, classes=("forex",), phases=(1,), compiler=compiler)),
            ("population", evolved(configs, market, compiler, drawing)),
        ):
            found[name].append(judged(trained, market, fresh))
            print(f"repeat {repeat} {name}: {found[name][-1]:.3f}", flush=True)
    differences = np.array(found["population"]) - np.array(found["random"])
    figures: dict[str, Any] = {name: shares(values) for name, values in found.items()}
    figures["population_less_random"] = float(differences.mean())
    figures["standard_error"] = float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
    store(arguments.name, figures, arguments.results)


def drawn(config: TrainConfig, drawing: np.random.Generator, seed: int) -> TrainConfig:
    """Settings drawn at random."""
    values = {key: float(np.exp(drawing.uniform(np.log(low), np.log(high)))) for key, (low, high) in _RANGES.items()}
    return with_values(config, {**values, "seed": seed}, "drawn")


def evolved(
    configs: Sequence[TrainConfig], market: Market, compiler: Compiler, drawing: np.random.Generator
) -> Sequence[TrainedHierarchy]:
    """The population at its end."""
    population, configs = Population(), list(configs)
    while True:
        try:
            return train_hierarchies(
                configs, market, classes=("forex",), phases=(1,), observer=population, compiler=compiler
            )
        except Stopped:
            order = sorted(population.scores, key=lambda member: population.scores[member])
            quarter = len(order) // 4
            for loser in order[:quarter]:
                winner = int(drawing.choice(order[-quarter:]))
                own_key = population.saved[loser].state.key
                donated = population.saved[winner]
                population.saved[loser] = dataclasses.replace(
                    donated, state=dataclasses.replace(donated.state, key=own_key)
                )
                configs[loser] = perturbed(configs[winner], configs[loser].seed, drawing)


def perturbed(config: TrainConfig, seed: int, drawing: np.random.Generator) -> TrainConfig:
    """Settings a step away, within their ranges."""
    now = {
        "specialists.forex.learning_rate": config.specialists["forex"].learning_rate,
        "ppo.clip_range": config.ppo.clip_range,
        "ppo.weight_decay": config.ppo.weight_decay,
    }
    values = {
        key: float(np.clip(now[key] * drawing.choice(_FACTORS), low, high)) for key, (low, high) in _RANGES.items()
    }
    return with_values(config, {**values, "seed": seed}, "perturbed")


def judged(trained: Sequence[TrainedHierarchy], market: Market, fresh: Validator) -> float:
    """Sharpe ratio on the fresh market of the policy with the best validation."""
    outcomes = [hierarchy.outcomes[1]["forex"] for hierarchy in trained]
    best = max(outcomes, key=lambda outcome: score(outcome.validation))
    policy: Policy = best.policy
    plan = phases.plan_specialist(fresh.config, fresh.market, 0)
    return score(fresh.specialist(plan, market.universe.classes[0].symbols, policy).performance)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
