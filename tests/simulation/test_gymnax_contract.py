"""The environments are gymnax's, but do not import all of gymnax; whoever wants it has it whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OURS = "from mtquant_jax.simulation.specialist_env import SpecialistEnv\n"
"""Loads the contract from its file, unless gymnax is there."""

WHOLE = """
import gymnax.environments.environment
assert gymnax.environments.environment.Environment in SpecialistEnv.__mro__
import gymnax.environments.environment as contract
from gymnax.environments import environment, spaces
assert gymnax.environments.environment is contract is environment is sys.modules["gymnax.environments.environment"]
assert contract.__name__ == contract.Environment.__module__ and contract.__package__ == "gymnax.environments"
assert issubclass(gymnax.environments.CartPole, contract.Environment) and gymnax.EnvState is contract.EnvState
import jax
env, params = gymnax.make("CartPole-v1")
key = jax.random.key(0)
observation, state = env.reset(key, params)
observation, *_ = env.step(key, state, env.action_space(params).sample(key), params)
assert observation.shape == (4,)
import matplotlib.pyplot, seaborn
assert matplotlib.pyplot.figure and seaborn.heatmap
"""

LATE = """
gymnax gymnasium seaborn matplotlib scipy.stats pandas orbax tensorboardX pyarrow plotly arch
"""
"""What a training does without until it needs it, or for good."""


def run(code: str) -> None:
    command = [sys.executable, "-c", f"import sys\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import gymnax\n"], ids=["first", "later"])
def test_gymnax_is_whole_with_our_environments_in_it(before: str) -> None:
    run(before + OURS + WHOLE)


@pytest.mark.slow
def test_without_its_file_the_contract_is_imported_as_usual() -> None:
    hidden = "import pathlib\nseen = pathlib.Path.is_file\n"
    hidden += "pathlib.Path.is_file = lambda path: 'gymnax' not in str(path) and seen(path)\n"
    run(f"{hidden}{OURS}import gymnax\nassert gymnax.environments.environment.Environment in SpecialistEnv.__mro__")


def test_importing_a_training_leaves_out_what_is_wanted_later() -> None:
    run(f"import mtquant_jax.runs.train\nfound = set({LATE.split()}) & set(sys.modules)\nassert not found, found")
