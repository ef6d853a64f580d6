"""Mutants of good bar files in every format: a sentence, equal bars, or a counted notice; never other bars in silence.

`benchmarks/bar_file_fuzz.py` reads thousands; `bar_mutants` says what is not made because nobody could notice it.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars import reading
from mtquant_jax.market.bars.reading import inspect_bar_file
from mtquant_jax.market.bars.wall import wall
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.reference.bar_mutants import TABLE, TEXT, mutate
from mtquant_jax.reference.bar_originals import KINDS, Mutant, judge, originals
from mtquant_jax.reference.bar_table_mutants import change_table
from tests.conftest import SHARED

RAW = SHARED / "raw_formats"
INSTRUMENTS = load_instruments()
MUTANTS = 320


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return originals(tmp_path_factory.mktemp("originals"), RAW if RAW.is_dir() else None)


def test_every_format_has_an_original_and_every_original_is_judged_equal(files, tmp_path):
    assert len(files) >= 18 and len({original.format for original in files}) == len(files)
    for original in files:
        assert judge(original, Mutant(original.content), tmp_path).kind == "equal"
    same = [original for original in files if not original.format.startswith("real")]
    for original in same:
        np.testing.assert_array_equal(original.bars.close, same[0].bars.close, err_msg=original.format)


@pytest.mark.parametrize("part", range(4))
def test_mutants_are_refused_read_rightly_or_noticed(files, tmp_path, part):
    for number in range(part, MUTANTS, 4):
        original = files[number % len(files)]
        name, mutant = mutate(np.random.default_rng([13, number]), original)
        verdict = judge(original, mutant, tmp_path)
        assert verdict.kind in KINDS
        assert verdict.kind != "wrong", (number, original.format, name, verdict.detail)


def test_the_judge_sees_bars_that_change_in_silence(files, tmp_path):
    csv = next(original for original in files if original.format == "CSV")
    lines = csv.lines
    other = lines[5].rpartition(",")[0] + ",99"
    for changed in (lines[:-1], [lines[0], *lines[2:]], [*lines[:5], other, *lines[6:]]):
        verdict = judge(csv, Mutant("\n".join(changed).encode()), tmp_path)
        assert verdict.kind == "wrong" and verdict.detail.endswith("without a notice")
    assert judge(csv, Mutant("\n".join(lines[:-1]).encode(), lost=frozenset([47])), tmp_path).kind == "equal"


@pytest.mark.parametrize("mutation", [*TEXT, *TABLE], ids=lambda mutation: mutation.__name__)
def test_every_mutation_changes_files_of_several_formats(files, mutation):
    rng, changed = np.random.default_rng(0), 0
    for original in files[:18]:
        if mutation in (TABLE if original.layout is None else TEXT):
            mutants = [mutation(rng, original) for _ in range(3)]
            changed += any(mutant is not None and mutant.content != original.content for mutant in mutants)
    assert changed >= 2


def test_frames_of_mutants_are_refused_in_a_sentence_or_read(files):
    table = next(original for original in files if original.format == "Parquet")
    refused = 0
    for number in range(60):
        mutant = change_table(np.random.default_rng([7, number]), table)
        frame = pyarrow.parquet.read_table(io.BytesIO(mutant.content)).to_pandas()
        try:
            bars, _ = load_frames({"EURUSD": frame}, [], INSTRUMENTS)
        except UserError as error:
            refused += 1
            assert str(error).startswith("frame EURUSD") and "cannot be read (" not in str(error)
        else:
            np.testing.assert_array_equal(bars.close, table.bars.close)
    assert 5 < refused < 55


@pytest.mark.parametrize(
    "error",
    [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), pa.ArrowInvalid("x\ny"), ZeroDivisionError(), KeyError(1)],
)
def test_what_no_loader_expects_becomes_a_sentence_that_keeps_its_cause(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(reading, "examine_wanted", fail)
    (tmp_path / "EURUSD.csv").write_text("time,open,high,low,close\n2024-01-02,1,1,1,1\n")
    file, findings = inspect_bar_file(tmp_path / "EURUSD.csv")
    assert file is None and findings.cause.__cause__ is error
    assert findings.problem.startswith(f"EURUSD.csv cannot be read ({type(error).__name__}: ")
    assert "\n" not in findings.problem
    with pytest.raises(UserError, match=r"EURUSD.csv cannot be read") as raised:
        reading.read_bar_file(tmp_path / "EURUSD.csv")
    assert raised.value.__cause__.__cause__ is error


def test_the_wall_lets_sentences_and_errors_of_the_program_pass():
    for error in (UserError("a sentence"), AssertionError("ours"), AttributeError("ours"), NameError("ours")):
        with pytest.raises(type(error), match=str(error)), wall("EURUSD.csv"):
            raise error
    with pytest.raises(UserError, match=r"EURUSD.csv does not fit into memory: no details"), wall("EURUSD.csv"):
        raise MemoryError
