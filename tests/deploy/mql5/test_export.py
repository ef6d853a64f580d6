"""The folder or zip that is written, and what is refused."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from mtquant_jax.deploy.mql5 import export
from mtquant_jax.deploy.mql5.export import export_mql5
from mtquant_jax.deploy.mql5.tables import clock_table, timeframe
from mtquant_jax.errors import UserError
from mtquant_jax.runs.trained_run import open_run


@pytest.fixture
def quick(advisor, monkeypatch) -> None:
    monkeypatch.setattr(export, "expert_advisor", lambda run: advisor)


def test_a_folder_and_a_zip_hold_the_same(quick, advisor, synthetic_run, tmp_path: Path) -> None:
    run = open_run(synthetic_run)
    assert export_mql5(run, tmp_path / "new" / "folder") is advisor
    export_mql5(run, tmp_path / "advisor.zip")
    with zipfile.ZipFile(tmp_path / "advisor.zip") as archive:
        for entry in archive.namelist():
            folder, name = entry.split("/")
            assert folder.startswith("MTQuant-")
            assert archive.read(entry) == (tmp_path / "new" / "folder" / name).read_bytes()
    assert advisor.size > 100_000


def test_nothing_is_overwritten(quick, synthetic_run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        export_mql5(open_run(synthetic_run), tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        export_mql5(open_run(synthetic_run), tmp_path / "notes.txt" / "advisor.zip")


def test_a_run_without_a_meta_controller_is_refused(synthetic_run, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(synthetic_run, run_dir)
    run = open_run(run_dir)
    run.paths.meta_bundle.unlink()
    with pytest.raises(UserError, match="has no meta-controller"):
        export_mql5(run, tmp_path / "advisor")


def test_bars_that_metatrader_does_not_have_are_refused() -> None:
    assert timeframe(3600) == "PERIOD_H1"
    with pytest.raises(UserError, match="bars of 42 minutes"):
        timeframe(2520)


def test_the_table_of_clocks_has_the_changes_of_new_york() -> None:
    text = clock_table("NewYork+7")
    assert "SERVER_CLOCK_MODEL = 0, // As in training: NewYork+7" in text
    assert "1710054000" in text  # 2024-03-10 07:00 UTC
