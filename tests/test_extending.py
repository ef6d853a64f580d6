"""docs/extending.md: the page's session runs from top to bottom, and registries refuse what they have already."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import mtquant_jax as mt
from mtquant_jax.agents.networks import NETWORKS, register_network
from mtquant_jax.runs.trading_policy import read_model
from mtquant_jax.settings import choices
from mtquant_jax.settings.config import AlgorithmName, NetworkName, ObjectiveName, PhaseAlgorithmName
from mtquant_jax.simulation.reward import REWARDS, RewardInputs, RewardParams, register_reward, start_memory
from mtquant_jax.storage.bundles import write_bundle
from mtquant_jax.training.learners import LEARNERS, register_learner
from tests.pages import DOCS, blocks_of, without_numbers
from tests.registries import restored

PAGE = DOCS / "extending.md"
END = "end of a block"
NAMES = {ObjectiveName: REWARDS, NetworkName: NETWORKS, AlgorithmName: LEARNERS}


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    # A process of its own: the page adds a feature before the package is used.
    blocks = blocks_of(PAGE)
    session = tmp_path / "session.py"
    session.write_text("\n".join(f"{block.code}\nprint({END!r})" for block in blocks), encoding="utf-8")
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); exec(open('session.py').read())"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(END)
    for block, output in zip(blocks, printed, strict=False):
        assert without_numbers(output) == without_numbers(block.shown), f"line {block.line}"
    assert len(printed) == len(blocks) + 1


def test_the_names_in_settings_are_those_of_the_registries():
    for kind, registry in NAMES.items():
        assert set(typing.get_args(kind)) <= set(registry)
        assert set(choices.choices_of(kind)) == set(registry)
    assert set(typing.get_args(PhaseAlgorithmName)) == {"same", *LEARNERS}


@pytest.fixture
def clean() -> Iterator[None]:
    """Registries that forget what a test adds."""
    with restored():
        yield


@pytest.mark.parametrize(
    ("key", "register", "taken"),
    [
        ("reward.objective", lambda name: register_reward(name, REWARDS["log_growth"]), "mean_variance"),
        ("portfolio_reward.objective", lambda name: register_reward(name, REWARDS["log_growth"]), "log_growth"),
        ("ppo.network", register_network, "dense"),
        ("algorithm", lambda name: register_learner(name, LEARNERS["ppo"]), "ppo"),
        ("phase3_algorithm", lambda name: register_learner(name, LEARNERS["ppo"]), "pathwise"),
    ],
)
def test_settings_accept_a_name_once_it_is_registered(key, register, taken, clean, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"{key.split('.')[0]}: {{{key.split('.')[-1]}: mine}}\n")
    (tmp_path / "top.yaml").write_text(f"{key}: mine\n")
    file = tmp_path / ("mine.yaml" if "." in key else "top.yaml")
    for arguments in ((file,), ()):
        with pytest.raises(mt.UserError, match=f'{key} must be one of .*, not "mine"'):
            mt.load_config(*arguments, **({} if arguments else {key: "mine"}))
    register("mine")
    mt.load_config(file)
    mt.load_config(**{key: "mine"})
    with pytest.raises(mt.UserError, match=f"{taken} is registered already; choose another name"):
        register(taken)
    with pytest.raises(mt.UserError, match="mine is registered already"):
        register("mine")


def test_the_reward_of_the_page_counts_losses_twice():
    code = next(block.code for block in blocks_of(PAGE) if "def loss_aversion" in block.code)
    names = {"jnp": jnp}
    exec(code.replace("register_reward(", "print(").replace("import print", "import register_reward"), names)
    params = RewardParams(scale=jnp.float32(100.0), risk_aversion=jnp.float32(1.0), sharpe_memory=jnp.float32(1.0))
    paid = [
        float(names["loss_aversion"](start_memory(), RewardInputs(jnp.float32(r), jnp.float32(0.0)), params)[1])
        for r in (0.01, -0.01)
    ]
    np.testing.assert_allclose(paid, [1.0, -2.0], rtol=1e-6)


def test_a_model_of_networks_that_nobody_registered_is_refused(synthetic_run, tmp_path, clean):
    whole = synthetic_run / "models/specialists/forex_specialist.zip"
    manifest, policy = read_model(whole)
    other = dataclasses.replace(manifest, network=dataclasses.replace(manifest.network, kind="mine"))
    path = tmp_path / "other.zip"
    write_bundle(path, other.to_json(), {"params": policy.params, "normalizers": policy.normalizers})
    with pytest.raises(mt.UserError, match="was trained with the networks mine; import the module that registers"):
        mt.load_policy(path)
    register_network("mine")
    assert mt.load_policy(path).manifest == other
    assert "kind" not in manifest.to_json()["network"]
