"""Shows that a set-up learns what can be learnt and finds nothing where there is nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from mtquant_jax.commands.working import working
from mtquant_jax.jax_setup import device, prepare_jax
from mtquant_jax.settings.layers import WithSettings, load_command

_ADVICE = {
    "NOT LEARNT": "it was told the next bar and does not use it: train longer, look for costs above every move in "
    "`instruments`, or go back to the default settings",
    "LEAK": "it earns where nothing can be forecast: a feature, or the simulation, knows the future; look at the "
    "features that you registered, and do not trade what this set-up trains",
    "TOO GOOD": "markets do not pay that much: look at the clocks and stamps of the files (`bar_stamps`, "
    "`broker_timezone`), which may let one instrument know what another does an hour later",
    "pays for nothing": "it trades on noise and pays the costs: fewer timesteps or more weight decay would trade less",
}


@dataclasses.dataclass(frozen=True)
class ControlsCommand(WithSettings):
    """Train specialists on your own bars with a planted oracle, and on the same bars shuffled.

    The oracle, a feature that knows the next bar, must be exploited; of shuffled bars, in random order and each upside
    down by the toss of a coin, nothing must be earned. Judged on the validation split; nothing is written.
    """


def run(arguments: Sequence[str], prog: str) -> int:
    """Train, print; 1 where a control fails.

    Raises:
        UserError: bad settings or data, before anything is trained.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, source = load_command(ControlsCommand, arguments, prog, phases="1", resumes_run=False)
    prepare_jax(command.settings.devices)
    from mtquant_jax.errors import UserError, with_flags
    from mtquant_jax.market.prepare import prepare_market
    from mtquant_jax.market.traded import with_symbols
    from mtquant_jax.runs.controls import ERRORS, Controlled, run_controls
    from mtquant_jax.runs.memory import memory_advice
    from mtquant_jax.training.compiling import Compiler

    began, config = time.perf_counter(), with_symbols(command.settings)
    if config.phases != "1":
        raise UserError(f"`phases` {config.phases}: controls train specialists, which is phase 1")
    print(f"mtquant-jax controls on {device()}, settings from {source}")
    found: list[Controlled] = []
    with memory_advice(config):
        market = prepare_market(config)
        print(f"{market.description}; {config.phase1_timesteps:,} timesteps by {config.algorithm_of(1)}", flush=True)
        print(f"\n{'market':<10} {'class':<14} {'Sharpe':>16} {'return':>10} {'before costs':>13} {'exposure':>9}")
        with working("training on three markets"):
            for row in run_controls(config, market, Compiler.of(config)):
                found.append(row)
                figures = row.performance
                sharpe, error = figures.sharpe or 0.0, figures.sharpe_standard_error or 0.0
                print(
                    f"{row.market:<10} {row.class_name:<14} {sharpe:>+9.2f} ± {error:<4.2f} "
                    f"{100.0 * figures.total_return:>+8.2f} % {100.0 * figures.gross_return:>+11.2f} % "
                    f"{figures.mean_exposure:>9.2f}  {row.verdict}",
                    flush=True,
                )
    print()
    for verdict, advice in _ADVICE.items():
        if classes := [f"{row.class_name} ({row.market})" for row in found if row.verdict == verdict]:
            print(f"{verdict}: {', '.join(classes)}: {with_flags(advice)}")
    failed = any(row.failed for row in found)
    outcome = "a control failed" if failed else "both controls are as they must be"
    print(f"{outcome}, by {ERRORS:.0f} standard errors; done in {time.perf_counter() - began:.1f} s")
    return int(failed)
