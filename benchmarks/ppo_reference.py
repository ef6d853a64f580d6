"""Comparison of PPO implementations: this package, rejax and stable-baselines3 on CartPole-v1 and Pendulum-v1.

    python benchmarks/ppo_reference.py [--rejax-python PATH] [--sb3-python PATH] [--seeds 10]

All use the same networks and hyper-parameters, and the same evaluation: the mean return of the policy's mode over new
episodes, at the same timesteps. The other two run in their own environments, because they cannot be installed together
with this package; docs/learning.md describes how to create them. An implementation without an interpreter is left out,
and the result says so.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from recording import RESULTS, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.learning.train import start_training, train_chunk_parallel
from mtquant_jax.reference.episodes import episode_returns
from mtquant_jax.reference.gymnax_agent import CONTROL, control_agent, start_control, traced_params
from mtquant_jax.statistics.significance import interquartile_mean

RUNNERS = Path(__file__).resolve().parent / "reference_runners"
_SEED_OF_EPISODES = 1_000  # evaluations use other episodes than trainings, and the same ones every time


@dataclasses.dataclass(frozen=True)
class Setting:
    """An environment and the hyper-parameters of every learner on it."""

    env: str
    solved_at: float  # mean return from which the environment counts as solved
    timesteps: int
    evaluation_interval: int  # timesteps
    num_steps: int
    num_minibatches: int
    gamma: float
    reward_scale: float  # factor of the rewards in training; returns are reported without it
    num_envs: int = 16
    num_epochs: int = 10
    learning_rate: float = 1e-3  # constant: rejax cannot anneal it
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_weight: float = 0.5  # of half the squared error
    entropy_weight: float = 0.0
    max_grad_norm: float = 0.5
    hidden_size: int = 64  # two tanh layers each for policy and critic


# Gymnasium registers 475 for CartPole-v1 and nothing for Pendulum-v1. On Pendulum-v1, a policy at -250 swings up and
# balances in nearly every episode; the best possible mean is about -145, that of an untrained policy about -1200.
SETTINGS = (
    Setting("CartPole-v1", 475.0, 102_400, 4_096, num_steps=64, num_minibatches=4, gamma=0.99, reward_scale=1.0),
    Setting("Pendulum-v1", -250.0, 204_800, 8_192, num_steps=128, num_minibatches=8, gamma=0.9, reward_scale=0.1),
)

DIFFERENCES = {
    "ours": "truncation bootstraps; orthogonal initialisation; global norm clip; no value clip; staggered episodes",
    "rejax": "truncation ends like termination; LeCun initialisation; element-wise gradient clip; value clip always on",
    "stable-baselines3": "truncation bootstraps; orthogonal initialisation; global norm clip; no value clip; gymnasium",
}
_STYLES = {"ours": ("#0072B2", "o"), "rejax": ("#D55E00", "s"), "stable-baselines3": ("#009E73", "^")}
_INK, _QUIET, _GRID = "#222222", "#5a5a5a", "#e4e4e4"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare PPO with other implementations."""

    rejax_python: Path | None = None
    """Interpreter of an environment with rejax and gymnax below 1; None leaves rejax out."""
    sb3_python: Path | None = None
    """Interpreter of an environment with stable-baselines3; None leaves it out."""
    seeds: int = 10
    """Trainings per learner and environment."""
    sb3_seeds: int = 3
    """Trainings of stable-baselines3, which run one after another, each in a minute or two."""
    episodes: int = 64
    """New episodes per evaluation."""
    name: str = "ppo_reference"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""
    keep: Path | None = None
    """Folder of the learners' raw results; a result from equal settings is used again."""
    image: Path = RESULTS.parents[1] / "docs" / "images" / "ppo_reference.png"
    """Path of the figure with the learning curves."""


def main(arguments: Arguments) -> None:
    """Run every learner, store the figures and draw the curves."""
    prepare_jax()
    others = {"rejax": arguments.rejax_python, "stable-baselines3": arguments.sb3_python}
    outcomes = []
    for setting in SETTINGS:
        runs = {"ours": functools.partial(_ours, setting, arguments)}
        for name, python in others.items():
            if python is not None:
                runs[name] = functools.partial(_theirs, name, python, setting, arguments)
        learners = {}
        for name, run in runs.items():
            learners[name] = _summary(_kept(name, setting, arguments, run), setting)
            _print(setting, name, learners[name])
        outcomes.append({"setting": dataclasses.asdict(setting), "learners": learners})
    _draw(outcomes).savefig(arguments.image, dpi=100, facecolor="white")
    figures = {
        "left_out": [name for name, python in others.items() if python is None],
        "episodes_per_evaluation": arguments.episodes,
        "differences": DIFFERENCES,
        "seconds_are": "wall clock for all seeds, evaluations included; only an idle machine makes them comparable",
        "environments": outcomes,
    }
    store(arguments.name, figures, arguments.results)


def _task(name: str, setting: Setting, arguments: Arguments) -> dict[str, Any]:
    """Settings that are passed to a learner."""
    seeds = arguments.sb3_seeds if name == "stable-baselines3" else arguments.seeds
    settings = {key: value for key, value in dataclasses.asdict(setting).items() if key != "solved_at"}
    return settings | {"seeds": seeds, "episodes": arguments.episodes}


def _kept(name: str, setting: Setting, arguments: Arguments, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Result of an earlier run with equal settings, or of a new run."""
    if arguments.keep is None:
        return run()
    path, task = arguments.keep / f"{name}_{setting.env}.json", _task(name, setting, arguments)
    if path.exists() and (kept := json.loads(path.read_text(encoding="utf-8")))["task"] == task:
        return kept["result"]
    result = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"task": task, "result": result}) + "\n", encoding="utf-8")
    return result


def _ours(setting: Setting, arguments: Arguments) -> dict[str, Any]:
    """Train all seeds at once with this package: mean returns ``[seeds][evaluations]`` and seconds."""
    env, _ = gymnax.make(setting.env)
    env_params = traced_params(env)
    agent = control_agent(env, env_params, setting.hidden_size, reward_scale=setting.reward_scale)
    program = Program(
        env=env,
        agent=agent,
        objectives=(Objective(streams=(0,), policy=(1.0,), value=(1.0,)),),
        num_envs=setting.num_envs,
        num_steps=setting.num_steps,
        learner=PPO(setting.num_minibatches, setting.num_epochs),
    )
    seeds = range(arguments.seeds)
    starts = [start_control(agent, env, env_params, seed) for seed in seeds]
    params, normalizers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    keys, episode_keys = (jax.vmap(jax.random.key)(jnp.asarray(seeds) + base) for base in (0, _SEED_OF_EPISODES))
    hyper = hyper_of(setting)
    each_env_params, each_hyper = _repeat((env_params, hyper), arguments.seeds)

    def mean_return(params: Any, normalizers: Any, key: jax.Array) -> jax.Array:
        longest = int(env.default_params.max_steps_in_episode)
        returns = episode_returns(program, params, normalizers, env_params, key, arguments.episodes, longest)
        return jnp.mean(returns)

    begin = time.perf_counter()
    start = jax.vmap(functools.partial(start_training, program), in_axes=(0, 0, None, None, 0))
    state = start(params, normalizers, {}, env_params, keys)
    updates = jnp.asarray(setting.evaluation_interval // program.timesteps_per_update, jnp.int32)
    shared = (False,) * len(jax.tree.leaves(each_env_params))
    chunk = train_chunk_parallel.lower(program, shared, state, each_env_params, each_hyper, updates).compile()
    evaluate = jax.jit(jax.vmap(mean_return)).lower(state.params, state.normalizers, episode_keys).compile()
    compiled = time.perf_counter()
    returns = [np.asarray(evaluate(state.params, state.normalizers, episode_keys))]
    for _ in range(setting.timesteps // setting.evaluation_interval):
        state, _ = chunk(state, each_env_params, each_hyper, updates)
        returns.append(np.asarray(evaluate(state.params, state.normalizers, episode_keys)))
    return {
        "returns": np.stack(returns, axis=1).tolist(),
        "seconds": time.perf_counter() - compiled,
        "compile_seconds": compiled - begin,
    }


def hyper_of(setting: Setting) -> Hyper:
    """Hyper-parameters of PPO; the weights that only coordinated training uses are one."""
    same = ("gamma", "gae_lambda", "clip_range", "value_weight", "entropy_weight", "max_grad_norm")
    off = ("anneal_learning_rate", "value_clip_range", "weight_decay", "target_kl", "leash", "project_conflicts")
    values: dict[str, Any] = {name: getattr(setting, name) for name in same} | dict.fromkeys(off, 0.0)
    values |= {"learning_rate": {CONTROL: setting.learning_rate}, "update_interval": {CONTROL: 1.0}}
    values |= {"total_updates": 1.0, "individual_weight": 1.0, "coordination_weight": 1.0}
    return Hyper(**jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), values))


def _repeat(tree: Any, times: int) -> Any:
    """Add a leading axis of equal entries to every leaf."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (times, *leaf.shape)), tree)


def _theirs(name: str, python: Path, setting: Setting, arguments: Arguments) -> dict[str, Any]:
    """Run another package's PPO in its own environment; returns the same as `_ours`, with its versions."""
    script = {"rejax": "rejax_ppo.py", "stable-baselines3": "sb3_ppo.py"}[name]
    command = [str(python), str(RUNNERS / script), json.dumps(_task(name, setting, arguments))]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def _summary(result: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """Aggregate over seeds, together with the curves."""
    returns = np.asarray(result["returns"])  # [seeds, evaluations]
    timesteps = setting.evaluation_interval * np.arange(returns.shape[1])
    solved = returns >= setting.solved_at
    first = [int(timesteps[row.argmax()]) if row.any() else None for row in solved]
    # A seed that never solves it counts as infinitely long: the median is finite while fewer than half do so.
    waits = sorted(float("inf") if wait is None else wait for wait in first)
    median = (waits[(len(waits) - 1) // 2] + waits[len(waits) // 2]) / 2
    final = returns[:, -1]
    rest = {key: value for key, value in result.items() if key != "returns"}
    return rest | {
        "seeds": len(returns),
        "seeds_solved": int(solved.any(axis=1).sum()),
        "timesteps_to_solve": {"median": median if np.isfinite(median) else None, "per_seed": first},
        "final_return": {
            "interquartile_mean": interquartile_mean(final),
            "lowest": float(final.min()),
            "highest": float(final.max()),
        },
        "mean_return_of_the_whole_curve": interquartile_mean(returns.mean(axis=1)),
        "timesteps": timesteps.tolist(),
        "returns": np.round(returns, 2).tolist(),
    }


def _print(setting: Setting, name: str, summary: dict[str, Any]) -> None:
    """Print one line when a learner is done."""
    final, wait = summary["final_return"], summary["timesteps_to_solve"]["median"]
    print(
        f"{setting.env}, {name}: final {final['interquartile_mean']:.1f} ({final['lowest']:.1f} to "
        f"{final['highest']:.1f}), solved after {wait} timesteps by {summary['seeds_solved']} of {summary['seeds']}, "
        f"{summary['seconds']:.1f} s",
        flush=True,
    )


def _draw(outcomes: list[dict[str, Any]]) -> Figure:
    """Draw one panel per environment: interquartile mean over seeds, and the middle half of the seeds as a band."""
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.08, wspace=0.04)
    figure = Figure(figsize=(11.0, 4.6), layout=layout)
    for axes, outcome in zip(figure.subplots(1, len(outcomes), squeeze=False)[0], outcomes, strict=True):
        _panel(axes, outcome)
    figure.supxlabel(
        "Mean return of the deterministic policy: interquartile mean over seeds, and the middle half of the seeds.",
        fontsize=9,
        color=_QUIET,
    )
    return figure


def _panel(axes: Axes, outcome: dict[str, Any]) -> None:
    """Draw the learning curves of one environment."""
    setting = outcome["setting"]
    axes.axhline(setting["solved_at"], color=_QUIET, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
    for number, (name, summary) in enumerate(outcome["learners"].items()):
        colour, marker = _STYLES[name]
        returns, timesteps = np.asarray(summary["returns"]), summary["timesteps"]
        middle = [interquartile_mean(column) for column in returns.T]
        low, high = np.quantile(returns, (0.25, 0.75), axis=0)
        axes.fill_between(timesteps, low, high, color=colour, alpha=0.15, linewidth=0)
        style: dict[str, Any] = {"marker": marker, "markersize": 5, "markevery": (number, 3), "linewidth": 1.8}
        label = f"{name} ({summary['seeds']} seeds)"
        axes.plot(timesteps, middle, color=colour, label=label, markeredgecolor="white", **style)
    axes.set_title(setting["env"], fontsize=11.5, fontweight="bold", color=_INK, loc="left")
    axes.annotate(
        f"solved: {setting['solved_at']:g}",
        (setting["timesteps"], setting["solved_at"]),
        xytext=(0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
        fontsize=9,
        color=_QUIET,
    )
    axes.legend(loc="lower right", fontsize=9.5, frameon=False)
    axes.set_xlabel("timesteps", color=_QUIET)
    axes.set_ylabel("return of an episode", color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_QUIET, labelsize=9, length=0)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
