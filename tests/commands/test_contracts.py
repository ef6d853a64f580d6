"""`mtquant-jax data contracts`: from a dump to a file that trainings take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtquant_jax.cli import main
from mtquant_jax.market.instruments import load_instruments
from tests.market.metatrader.symbols import index_info, symbol_info


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "symbols.json"
    path.write_text(json.dumps([symbol_info("EURUSD.pro"), index_info(), symbol_info("CLZ4", trade_calc_mode=1)]))
    return path


def contracts(dump: Path, *flags: str) -> int:
    return main(["data", "contracts", "--from", str(dump), "--output", str(dump.parent / "mine.yaml"), *flags])


def test_the_file_is_one_of_instruments_and_all_is_said(dump, capsys):
    assert contracts(dump) == 0
    output = capsys.readouterr().out
    instruments = load_instruments(dump.parent / "mine.yaml")
    assert (instruments["EURUSD"].spread, instruments["GER40"].contract_size) == (9.0, 10.0)
    assert "EURUSD: commission 3.5 USD per lot and side and margin rate 0.0333 are the shipped example's" in output
    assert "CLZ4: it is a futures contract" in output
    assert "with 2 instruments. Train with it: --instruments" in output


def test_an_existing_file_is_kept_unless_told_otherwise(dump, capsys):
    (dump.parent / "mine.yaml").write_text("EURUSD: mine\n")
    assert contracts(dump) == 2
    assert "mine.yaml is there already; give another file, or --overwrite" in capsys.readouterr().err
    assert (dump.parent / "mine.yaml").read_text() == "EURUSD: mine\n"
    assert contracts(dump, "--overwrite", "--symbols", "EURUSD,DAX") == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--symbols", "FOO"), "--symbols FOO: the dump has no such symbol"),
        (("--symbols", "CLZ4"), "CLZ4: it is a futures contract"),
        (("--margin-rate", "3.33"), "--margin-rate 3.33: must be above 0 and at most 1"),
        (("--commission", "-1"), "--commission -1: must be at least 0"),
        (("--output", "/no/such/folder/x.yaml"), "cannot be written (No such file or directory)"),
    ],
)
def test_wrong_flags_are_refused(dump, capsys, flags, message):
    assert contracts(dump, *flags) == 2
    assert message in capsys.readouterr().err
