"""The Python API without training: what importing costs, bars, settings and markets."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mtquant_jax as mt
from mtquant_jax.market.bars.parquet import write_parquet
from tests.market.test_frames import rates

GOLD = {"gold": {"symbols": ["XAUUSD"]}}
LONG = {"EURUSD": rates(3000), "XAUUSD": np.delete(rates(3000, level=2000.0, step=0.01), np.arange(100, 130))}


def test_importing_the_package_brings_no_jax_and_all_names_are_there():
    code = (
        "import sys, mtquant_jax as mt; names = [n for n in mt.__all__ if n not in dir(mt)];"
        "heavy = [m for m in ('jax', 'numpy', 'pandas', 'mtquant_jax.api') if m in sys.modules]; print(names, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


def test_every_name_is_typed_and_documented():
    for name in mt.__all__:
        assert getattr(mt, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'load_bar'"):
        mt.load_bar  # noqa: B018


def test_notices_stand_on_the_bars_and_in_the_log(caplog):
    with caplog.at_level(logging.WARNING, logger="mtquant_jax"):
        bars = mt.load_bars({"EURUSD": rates()})
    assert bars.symbols == ("EURUSD",)
    assert [record.getMessage() for record in caplog.records] == list(bars.notices)
    assert "broker_timezone" in bars.notices[0]


def test_a_directory_gives_the_bars_of_its_files(tmp_path):
    bars = mt.load_bars(LONG, broker_timezone="Etc/GMT-2")
    for index, symbol in enumerate(bars.symbols):
        write_parquet(bars, index, tmp_path / f"{symbol}.parquet")
    again = mt.load_bars(tmp_path)
    assert again.symbols == ("EURUSD", "XAUUSD")
    np.testing.assert_array_equal(again.close, bars.close)
    assert mt.load_bars(str(tmp_path), ["XAUUSD"], timeframe="H4", start="2024-02-01").symbols == ("XAUUSD",)
    with pytest.raises(mt.UserError, match=r"The data directory .*none does not exist"):
        mt.load_bars(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(mt.UserError, match="has no bar file of a known instrument"):
        mt.load_bars(tmp_path / "empty")


def test_a_frame_of_bars_can_be_read_back():
    bars = mt.load_bars(LONG, broker_timezone="Etc/GMT-2")
    frame = mt.bars_frame(bars, "XAUUSD")
    assert isinstance(frame, pd.DataFrame) and not frame["tradable"].all()
    np.testing.assert_array_equal(mt.load_bars({"XAUUSD": frame}).close[..., 0], bars.close[..., 1])


def test_a_market_of_given_bars_has_those_of_the_classes_alone():
    bars = mt.load_bars(LONG, broker_timezone="Etc/GMT-2")
    config = mt.load_config(specialists=GOLD, quick_test=True)
    market = mt.prepare(config, bars)
    assert market.universe.symbols == ("XAUUSD",)
    assert len(market.timestamps) == 2970  # EURUSD alone trades in the other 30 hours
    np.testing.assert_allclose(market.table.close[0, :, 0], bars.close[0, bars.tradable[0, :, 1], 1], rtol=1e-6)
    assert market.description.startswith("data given in Python: 1 instruments, 2,970 bars from 2024-01-01")
    assert market.settings == config
    assert market.notices == (
        "contract sizes, commissions and swaps are the examples of configs/instruments.yaml; "
        "give your broker's with `instruments` FILE",
    )


def test_given_bars_and_the_same_bars_in_files_give_the_same_market(tmp_path):
    bars = mt.load_bars(LONG, broker_timezone="Etc/GMT-2")
    classes = {"forex": {"symbols": ["EURUSD"]}, **GOLD}
    period = {"market.start": "2024-01-10", "market.end": "2024-04-20"}
    given = mt.prepare(mt.load_config(specialists=classes, quick_test=True, **period), bars)
    for index, symbol in enumerate(bars.symbols):
        write_parquet(bars, index, tmp_path / f"{symbol}.parquet")
    read = mt.prepare(mt.load_config(specialists=classes, quick_test=True, data_dir=tmp_path, **period))
    assert given.splits == read.splits and given.notices == read.notices
    np.testing.assert_array_equal(given.timestamps, read.timestamps)
    for name in ("close", "spread", "features", "covariance", "domain", "macro"):
        np.testing.assert_array_equal(getattr(given.table, name), getattr(read.table, name), err_msg=name)
    assert read.given is None and given.given is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "The bars have no GBPUSD and no USDJPY and no WTIUSD"),
        ({"specialists": GOLD, "curriculum": True}, "`curriculum` True: bars given in Python take the place"),
        ({"specialists": GOLD, "market.scenario": "crisis"}, "`market.scenario` crisis: bars given in Python take"),
        ({"specialists": GOLD, "market.start": "2030-01-01"}, "No bars are left between `market.start` 2030-01-01"),
        ({"specialists": GOLD, "simulation.episode_length": 5000}, "bars"),
    ],
)
def test_settings_that_do_not_go_with_given_bars_are_refused(settings, message):
    bars = mt.load_bars(LONG, broker_timezone="Etc/GMT-2")
    with pytest.raises(mt.UserError, match=message):
        mt.prepare(mt.load_config(quick_test=True, **settings), bars)


def test_a_market_checks_settings_that_were_changed_by_hand():
    config = dataclasses.replace(mt.load_config(quick_test=True), num_envs=0)
    with pytest.raises(mt.UserError, match="`num_envs` 0: must be at least 1"):
        mt.prepare(config)
