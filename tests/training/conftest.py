"""Quick three-phase runs, shared by the tests that look at what a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtquant_jax.cli import train_main


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """``train(*flags) -> run directory`` of a quick run that must succeed."""

    def run(*flags: str, run_dir: Path | None = None) -> Path:
        run_dir = run_dir or tmp_path_factory.mktemp("run")
        assert train_main(["--quick-test", "--run-dir", str(run_dir), *flags]) == 0
        return run_dir

    return run


@pytest.fixture(scope="session")
def synthetic_run(train) -> Path:
    """A quick run of all phases on the synthetic market."""
    return train()
