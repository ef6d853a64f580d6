"""Stretches of poor quality and the wanted period: what is reported, what is replaced and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.stretches import stretches_of
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments
from tests.conftest import SHARED
from tests.market.bars.test_clocks import CASES, bar_file, needs_cases, needs_data, pick, put, seconds, week_times

INSTRUMENTS = {
    symbol: dataclasses.replace(instrument, price_range=(1e-6, 1e6))
    for symbol, instrument in load_instruments().items()
}


def hourly(num_bars: int, first: str = "2022-01-03", seed: int = 0) -> BarFile:
    return bar_file(seconds(first) + 3600 * np.arange(num_bars), seed)


def with_spreads(folder: Path, points: np.ndarray, name: str = "EURUSD.csv") -> None:
    put(folder, name, hourly(len(points)))
    lines = (folder / name).read_text().splitlines()
    rows = [line.rpartition(",")[0] + f",{point}" for line, point in zip(lines[1:], points, strict=True)]
    (folder / name).write_text("\n".join([lines[0], *rows]) + "\n")


POINTS = np.where(np.arange(1000) < 450, 0, 8 + np.arange(1000) % 3)


@pytest.mark.parametrize(
    ("choice", "value", "what"),
    [
        ("median", 9e-5, "the median of the others, 9e-05, is used there"),
        ("default", 7e-5, "the default of EURUSD, 7e-05, is used there"),
        ("keep", 0.0, "which is kept: those bars cost no spread"),
    ],
)
def test_zero_spreads_are_named_and_replaced_as_chosen(tmp_path, choice, value, what):
    with_spreads(tmp_path, POINTS)
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, zero_spread=choice)
    np.testing.assert_allclose(bars.spread[0, :450, 0], value, rtol=1e-9)
    np.testing.assert_allclose(bars.spread[0, 450:, 0], POINTS[450:] * 1e-5, rtol=1e-9)
    where = "450 of 1,000 bars (45.0%), all of them from 2022-01-03 00:00 to 2022-01-21 17:00"
    assert (
        len(notices) == 1 and notices[0].startswith(f"EURUSD.csv: the spread is zero on {where}") and what in notices[0]
    )


def test_by_default_no_bar_trades_free(tmp_path):
    with_spreads(tmp_path, np.where(np.arange(600) % 7 == 3, 0, 9))
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert bars.spread.min() == pytest.approx(9e-5) and "86 of 600 bars (14.3%)" in notices[0]


def test_a_file_of_zeros_keeps_them_only_if_it_is_asked_to(tmp_path):
    with_spreads(tmp_path, np.zeros(300, int))
    kept, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, zero_spread="keep")
    assert not kept.spread.any() and "spread of zero on every bar, which is kept" in notices[0]
    assert load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)[0].spread.min() == pytest.approx(7e-5)


def test_a_rare_large_spread_does_not_hide_zeros_from_the_median(tmp_path):
    with_spreads(tmp_path, np.where(np.arange(400) < 300, 0, 400))
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert "the median spread of 0.004" in notices[1] and "far from the default" in notices[1]


def test_volume_that_does_not_move_is_named(tmp_path):
    file = hourly(1000)
    volume = np.where((np.arange(1000) >= 300) & (np.arange(1000) < 520), 42, file.volume)
    put(tmp_path, "EURUSD.csv", dataclasses.replace(file, volume=volume))
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    frozen = "EURUSD.csv: the volume does not move on 220 of 1,000 bars (22.0%), all of them from 2022-01-15 12:00 to"
    assert len(notices) == 1 and notices[0].startswith(frozen)
    assert stretches_of(dataclasses.replace(file, volume=np.zeros(1000))).frozen_volume.count == 0  # it has none
    assert stretches_of(dataclasses.replace(file, volume=np.full(1000, 5.0))).frozen_volume.count == 1000


def test_single_short_bars_are_counted_as_overlapping(tmp_path):
    times = np.concatenate([day + np.array([9.5, *range(10, 16)]) * 3600 for day in np.arange(60) * 86_400])
    times = times.astype(np.int64) + seconds("2022-01-03")
    found = stretches_of(bar_file(times))
    assert found.overlapping.count == 60 and found.other_lengths == ()
    put(tmp_path, "EURUSD.csv", bar_file(times))
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert "60 of 420 bars (14.3%)" in notices[0] and "begin before the H1 bar above them ends" in notices[0]


def mixed(tmp_path: Path, early: int) -> np.ndarray:
    """A file whose first 200 bars are of another length than the hours that follow."""
    start = seconds("2021-01-04")
    first = start + early * np.arange(200)
    times = np.concatenate([first, first[-1] + early + 3600 * np.arange(3000)])
    put(tmp_path, "EURUSD.csv", bar_file(times[(times // 86_400 + 3) % 7 < 5]))
    return times


def test_longer_bars_are_refused_because_they_show_the_future(tmp_path):
    times = mixed(tmp_path, 14_400)
    with pytest.raises(UserError) as error:
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert "EURUSD.csv has H4 bars from 2021-01-04 00:00 to 2021-02-0" in str(error.value)
    assert "would show prices before they are known: begin after them with `market.start` 2021-02-0" in str(error.value)
    start = str(error.value).partition("`market.start` ")[2][:10]
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start)
    assert (np.diff(bars.timestamps) < 14_400).any() and any("H4 bars among H1 bars" in n for n in notices)
    assert len(load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, timeframe="H4")[0].timestamps) > 600
    assert times[0] < bars.timestamps[0]


def test_shorter_bars_are_reported(tmp_path):
    mixed(tmp_path, 1800)
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert any("are M30 bars among H1 bars" in notice for notice in notices)


def test_weekends_and_pauses_are_no_bars_of_another_length():
    for kind in ("currencies", "metals", "shares"):
        for step in (60, 3600):
            file = bar_file(week_times(kind, last="2022-03-01" if step == 60 else "2024-01-01", step=step))
            assert stretches_of(file).other_lengths == ()
    days = np.unique(week_times("currencies") // 86_400) * 86_400
    assert stretches_of(bar_file(days[(days // 86_400 + 3) % 7 < 5])).other_lengths == ()
    thin = np.random.default_rng(0).random(20_000) < 0.3
    assert stretches_of(pick(hourly(20_000), thin)).other_lengths == ()


@needs_data
@pytest.mark.parametrize("folder", ["h1", "h1_long", "d1"])
def test_real_files_have_no_stretch_of_another_length(folder):
    from mtquant_jax.market.bars.reading import inspect_bar_file

    for path in sorted((SHARED / folder).glob("*.gz")):
        file, _ = inspect_bar_file(path)
        if file is not None:
            found = stretches_of(file)
            assert found.other_lengths == () and found.zero_spread.count == 0, path.name


@needs_cases
def test_the_case_of_a_history_without_spreads():
    folder = CASES / "05_zero_spread_history" / "bars"
    bars, notices = load_bars(folder, ["EURUSD"], INSTRUMENTS)
    assert bars.spread.min() > 0 and "the spread is zero on 5,616 of 12,482 bars (45.0%), all of them" in notices[0]
    kept, notices = load_bars(folder, ["EURUSD"], INSTRUMENTS, zero_spread="keep")
    assert np.count_nonzero(kept.spread == 0) == 5616 and "which is kept" in notices[0]


BAD = {
    "an impossible range": lambda cells: [cells[0], cells[1], "0.5", *cells[3:]],
    "no number": lambda cells: [*cells[:4], "x", *cells[5:]],
    "no time": lambda cells: ["", *cells[1:]],
    "a negative price": lambda cells: [*cells[:3], "-1", *cells[4:]],
}


def spoil(folder: Path, row: int, change) -> None:
    lines = (folder / "EURUSD.csv").read_text().splitlines()
    lines[row] = ",".join(change(lines[row].split(",")))
    (folder / "EURUSD.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_outside_the_wanted_period_is_no_reason_to_refuse(tmp_path, bad):
    put(tmp_path, "EURUSD.csv", hourly(24 * 60))
    spoil(tmp_path, 100, BAD[bad])
    with pytest.raises(UserError, match="row 101"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    with pytest.raises(UserError, match="row 101"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, end="2022-02-01")
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2022-01-10")
    assert len(bars.timestamps) == 24 * 53 and bars.timestamps[0] == seconds("2022-01-10")
    assert "168 rows outside the wanted period were left out, because of one that is wrong: EURUSD" in notices[0]
    assert "row 101" in notices[0]


@pytest.mark.parametrize("line", ["2022-03-04 00:00:00,1.1", "x,1,1,1,1,1,1,1,1", "2022-03-04T00:00:00,1.2,1.3"])
def test_a_broken_line_outside_the_wanted_period_is_no_reason_to_refuse(tmp_path, line):
    put(tmp_path, "EURUSD.csv", hourly(24 * 60))
    with (tmp_path / "EURUSD.csv").open("a") as file:
        file.write(line)  # an export that was cut off
    with pytest.raises(UserError, match=r"EURUSD.csv row 1442: \d columns where"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2022-01-10")
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, end="2022-03-01")
    assert len(bars.timestamps) == 24 * 57
    assert "broken lines outside the wanted period were left out (1): EURUSD.csv row 1442" in notices[0]


def test_a_broken_line_among_lines_of_separators_is_named(tmp_path):
    put(tmp_path, "EURUSD.csv", hourly(24 * 60))
    path = tmp_path / "EURUSD.csv"
    head, *rows = path.read_text().splitlines(keepends=True)
    empty = "," * head.count(",") + "\n"
    path.write_text("".join([head, *rows[:700], empty, *rows[700:], "2022-03-04 00:00:00,1.1\n"]))
    with pytest.raises(UserError, match=r"EURUSD.csv row 1443: 2 columns where"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, end="2022-03-01")


def test_of_two_bad_rows_the_one_inside_is_named(tmp_path):
    put(tmp_path, "EURUSD.csv", hourly(24 * 60))
    spoil(tmp_path, 100, BAD["no number"])
    spoil(tmp_path, 900, BAD["no number"])
    with pytest.raises(UserError, match=r"EURUSD.csv row 901 \(2022-02-09 11:00\): close 'x' is not a number"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2022-01-10")


def test_a_bad_row_of_a_frame_outside_the_period_is_no_reason_to_refuse():
    pd = pytest.importorskip("pandas")
    file = hourly(24 * 60)
    columns = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame({"time": file.timestamps} | {name: getattr(file, name) for name in columns})
    frame.loc[50, "high"] = 0.2
    with pytest.raises(UserError, match="row 50"):
        load_frames({"EURUSD": frame}, [], INSTRUMENTS)
    bars, _ = load_frames({"EURUSD": frame}, [], INSTRUMENTS, end="2022-03-01", start="2022-01-06")
    assert bars.timestamps[0] == seconds("2022-01-06")


def test_the_period_is_that_of_the_zone_of_the_stamps(tmp_path):
    put(tmp_path, "EURUSD.csv", hourly(24 * 60))
    spoil(tmp_path, 168 + 1, BAD["no number"])  # 2022-01-10 00:00 on the file's clock, 22:00 UTC the day before
    with pytest.raises(UserError, match="row 170"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2022-01-10")
    bars, _ = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2022-01-10", broker_timezone="Etc/GMT-2")
    assert bars.timestamps[0] == seconds("2022-01-10")


def test_a_short_symbol_is_named_with_what_it_costs(tmp_path):
    put(tmp_path, "EURUSD.csv", hourly(4000))
    put(tmp_path, "USDJPY.csv", hourly(3950, seed=1))
    put(tmp_path, "GBPUSD.csv", hourly(1000, str(np.datetime64("2022-01-03") + 100), seed=2))
    symbols = ["EURUSD", "USDJPY", "GBPUSD"]
    bars, notices = load_bars(tmp_path, symbols, INSTRUMENTS)
    assert len(bars.timestamps) == 1000
    about = [notice for notice in notices if "common history" in notice]
    assert len(about) == 2  # it begins late and ends early
    assert "GBPUSD.csv begins at 2022-04-13 00:00, which cuts the common history from 3,400 to 1,000 bars" in about[0]
    assert "(71% less); leave out GBPUSD" in about[0]
    assert not [n for n in load_bars(tmp_path, symbols[:2], INSTRUMENTS)[1] if "common history" in n]
    inside = load_bars(tmp_path, symbols, INSTRUMENTS, "2022-04-13", "2022-05-20")[1]
    assert not [notice for notice in inside if "common history" in notice]  # it costs nothing of what is wanted


def test_two_short_symbols_are_named_together(tmp_path):
    for seed, symbol in enumerate(("EURUSD", "USDJPY", "XAUUSD", "GBPUSD")):
        first = "2022-01-03" if seed < 2 else "2022-03-01"
        put(tmp_path, f"{symbol}.csv", hourly(4000 if seed < 2 else 4000 - 24 * 57, first, seed))
    _, notices = load_bars(tmp_path, ["EURUSD", "USDJPY", "XAUUSD", "GBPUSD"], INSTRUMENTS)
    about = [notice for notice in notices if "common history" in notice]
    assert len(about) == 1 and "XAUUSD.csv and GBPUSD.csv begin at 2022-03-01 00:00" in about[0]
