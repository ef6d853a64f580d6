"""Sweeps in Python: a search space in, a table of trials out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtquant_jax.api.markets import prepare
from mtquant_jax.api.session import keep_compiled_programs
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.sweep.batch import Markets
from mtquant_jax.runs.sweep.objectives import Objective
from mtquant_jax.runs.sweep.study import Finished, Method, Study
from mtquant_jax.runs.sweep.sweep import SweepPlan, run_sweep
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.training.compiling import Compiler

if TYPE_CHECKING:
    import pandas as pd


def sweep(
    space: Mapping[str, Any],
    market: Market | None = None,
    *,
    config: TrainConfig,
    seeds: int = 3,
    num_trials: int | None = None,
    method: Method | None = None,
    objective: Objective = "sharpe",
    classes: Sequence[str] = (),
    phases: Sequence[int] = (1,),
    halving: bool = False,
    batch: int = 8,
    storage: str = "",
    name: str = "sweep",
    on_trial: Callable[[Finished], None] | None = None,
) -> pd.DataFrame:
    """Try settings over several seeds each, judged on the validation split.

    Args:
        space: setting -> list of values, or ``{"low": ..., "high": ..., "log": True}``; keys as in a YAML file of
            `mtquant-jax sweep` (docs/sweeps.md).
        market: of `prepare`; None prepares the one that the settings describe.
        config: the settings that all trials share.
        seeds: trainings per trial; they count up from ``config.seed``.
        num_trials: None: all of a grid, otherwise 32.
        method: ``tpe``, ``random`` or ``grid``; None: a grid where all of the space are lists, otherwise tpe.
        objective: what is looked for; see docs/sweeps.md.
        classes: whose specialists are trained, with phase 1 alone; empty: all.
        phases: that every trial trains, from 1 on.
        halving: whether trials that promise too little are given up.
        batch: trials that are trained side by side.
        storage: where the study is kept; empty: in memory. A study that is there goes on.
        name: of the study.
        on_trial: called with every trial and its result as soon as there is one.

    Returns:
        One row per trial, in their order: ``number``, its values, ``state``, ``value``, ``standard_error``, the scores
        of the seeds, ``timesteps``, ``seconds`` and ``reason``.

    Raises:
        UserError: a wrong space, setting or study, or the extra sweep is missing.
    """
    config = dataclasses.replace(config, phases=",".join(map(str, phases)))
    validate(config)
    searched = SearchSpace.of(space, config, "the search space")
    plan = SweepPlan.of(
        name,
        config,
        searched,
        seeds=seeds,
        method=method,
        num_trials=num_trials,
        classes=tuple(classes),
        objective=objective,
        halving=halving,
        batch=batch,
    )
    market = prepare(config) if market is None else market
    keep_compiled_programs()
    study = Study(storage, name, searched, plan.method, config.seed, plan.purpose(market))
    study.recover()
    told = on_trial or (lambda finished: None)
    result = run_sweep(plan, study, Markets.with_one(market, config), Compiler.of(config), told=told)
    return result.to_frame()
