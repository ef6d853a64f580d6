"""Times the training of plans as trainings run them, with compiling apart."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import Plan
from mtquant_jax.training.runner import Runner, runner_of


class Timed:
    """Trainings side by side, advanced chunk by chunk."""

    def __init__(self, plans: Sequence[Plan], timesteps: int) -> None:
        """Compile them, and run once to warm up.

        Args:
            plans: of one program.
            timesteps: at least so many of each training in a chunk.
        """
        compiler, program = Compiler(), plans[0].program
        self._count = len(plans)
        self._runner: Runner = runner_of(compiler, plans, ())
        self._runner.prepare()
        self.compile_seconds = compiler.seconds
        self.updates = math.ceil(timesteps / program.timesteps_per_update)
        self._timesteps = self.updates * program.timesteps_per_update
        self._runner.run(self.updates)

    def rate(self) -> float:
        """Timesteps a second of all trainings together, in one more chunk."""
        start = time.perf_counter()
        self._runner.run(self.updates)
        return self._count * self._timesteps / (time.perf_counter() - start)
