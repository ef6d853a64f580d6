"""Dumps of symbol_info as users make them: JSON in three forms, CSV with three separators, and damaged ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.metatrader.dump import read_dump
from tests.market.metatrader.symbols import index_info, symbol_info

SYMBOLS = [symbol_info(), index_info()]


@pytest.mark.parametrize("form", ["list", "one", "by name", "utf-16", "bom"])
def test_json_is_read_in_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "dump.json"
    content = {"one": SYMBOLS[0], "by name": {one["name"]: one for one in SYMBOLS}}.get(form, SYMBOLS)
    path.write_text(json.dumps(content), encoding={"utf-16": "utf-16", "bom": "utf-8-sig"}.get(form, "utf-8"))
    records = read_dump(path)
    assert [record.name for record in records] == [one["name"] for one in SYMBOLS][: 1 if form == "one" else 2]
    assert records[0].number("trade_contract_size") == 100_000.0


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_says_the_same_as_json(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "dump.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(SYMBOLS[0]), delimiter=separator)
        writer.writeheader()
        for one in SYMBOLS:
            decimal = "," if separator == ";" else "."
            numbers = {key: str(value).replace(".", decimal) for key, value in one.items() if type(value) is float}
            writer.writerow(one | numbers)
    for record, one in zip(read_dump(path), SYMBOLS, strict=True):
        assert (record.number("bid"), record.number("digits")) == (one["bid"], one["digits"])
        assert record.number("trade_tick_size") == one["trade_tick_size"]
        assert record.text("currency_profit") == one["currency_profit"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dump.json: the file is empty; dump symbol_info"),
        ("[", "dump.json: is not JSON"),
        ("[]", "dump.json holds no symbol"),
        ("[null]", "a symbol must be an object with its fields, not 'None'"),
        ('[{"name": "EURUSD", "digits": 5}]', "EURUSD has no trade_contract_size, currency_profit; dump symbol_info"),
        ("name,digits\nEURUSD,5\n", "EURUSD has no trade_contract_size, currency_profit"),
        ("time,open,high\n1,2,3\n", "symbol 1 has no name, digits, trade_contract_size, currency_profit"),
    ],
)
def test_what_is_no_dump_is_refused_with_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dump.json"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_dump(path)
    assert message in str(error.value)


def test_a_missing_file_and_a_number_that_is_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file"):
        read_dump(tmp_path / "none.json")
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(symbol_info(spread="nine")))
    with pytest.raises(UserError, match=r"EURUSD: spread must be a number; found 'nine'"):
        read_dump(path)[0].number("spread")
