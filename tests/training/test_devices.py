"""Environments divided among devices: the numbers of one device, and refusals of what cannot be divided."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.learning.layout import Layout
from mtquant_jax.runs.identity import settings_hash
from mtquant_jax.settings.layers import load_config
from mtquant_jax.settings.yaml_files import as_mapping
from mtquant_jax.training import placement
from mtquant_jax.training.placement import check_devices, layout_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def apart() -> dict[str, float]:
    """How far trainings of toys on several devices end from those on one."""
    command = [sys.executable, "-m", "tests.training.on_devices"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_devices_agree_to_rounding(apart):
    assert set(apart) >= {"ppo, 2 devices", "ppo, 4 devices", "ppo, 8 devices", "pathwise, 4 devices"}
    assert {name: distance for name, distance in apart.items() if distance > 5e-6} == {}


def test_one_device_has_no_layout():
    config, _ = load_config(["--quick-test"])
    assert layout_of(config) == Layout()
    assert Layout().num_devices == 1


def refusal(config, phases=(1, 2, 3)) -> str:
    with pytest.raises(UserError) as error:
        check_devices(config, phases)
    return str(error.value)


def test_what_cannot_be_divided_is_refused(monkeypatch):
    config, _ = load_config(["--quick-test", "--devices", "4"])
    assert refusal(config) == "`devices` 4: this machine has 1, cpu"
    monkeypatch.setattr(placement, "_devices_of", lambda process: jax.devices() * 4)
    assert refusal(config) == (
        "`num_envs` 10: episodes are divided equally among `devices` 4; the nearest number is 8 or 12"
    )
    check_devices(dataclasses.replace(config, num_envs=8), (1, 2, 3))
    mixed = dataclasses.replace(config, num_envs=8, phase2_algorithm="pathwise")
    assert refusal(mixed).startswith("`pathwise.num_envs` 10: episodes are divided equally")
    check_devices(mixed, (1, 3))


def test_devices_are_no_part_of_what_is_learnt():
    one, _ = load_config(["--quick-test"])
    four, _ = load_config(["--quick-test", "--devices", "4"])
    assert settings_hash(as_mapping(one)) == settings_hash(as_mapping(four))
