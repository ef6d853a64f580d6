"""The clocks of bar files: what their weeks and returns say about them, and how they are declared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.market.bars.clocks import contradiction, likely_zones, repeating_zones, weeks_of
from mtquant_jax.market.bars.lags import find_lags
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.reading import read_bar_file
from mtquant_jax.market.bars.timeframes import opens_of, resample
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.time_zones import read_zone
from tests.conftest import SHARED

INSTRUMENTS = {
    symbol: dataclasses.replace(instrument, price_range=(1e-6, 1e6))
    for symbol, instrument in load_instruments().items()
}
UTC, NEW_YORK = read_zone("UTC"), read_zone("America/New_York")
CASES = SHARED.parent.parent / "cases"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="no cases beside this checkout")


def seconds(date: str) -> int:
    return int(np.datetime64(date, "s").astype(np.int64))


def week_times(kind: str, first: str = "2022-01-03", last: str = "2024-01-01", step: int = 3600) -> np.ndarray:
    """UTC opens of the bars of a market: currencies, metals (a break at 17:00 New York), shares or crypto."""
    utc = np.arange(seconds(first), seconds(last), step)
    if kind == "crypto":
        return utc
    local = NEW_YORK.from_utc(utc)
    hours = (local - 3 * 86_400) // 3600 % 168  # 0 is Sunday 00:00
    if kind == "shares":
        return utc[(hours // 24 >= 1) & (hours // 24 <= 5) & (hours % 24 >= 10) & (hours % 24 < 16)]
    opens = 17 if kind == "currencies" else 18
    inside = (hours >= opens) & (hours < 5 * 24 + 17)
    return utc[inside & ((kind == "currencies") | (hours % 24 != 17))]


def bar_file(times: np.ndarray, seed: int = 0, name: str = "EURUSD.csv", common: float = 0.7) -> BarFile:
    """Bars of a random walk on these times, which shares most of its returns with those of other seeds."""
    cells = times // 60 - times[0] // 60
    shared = np.random.default_rng(99).normal(0, 1e-3, int(cells[-1]) + 1)[cells]
    own = np.random.default_rng(seed).normal(0, 1e-3, len(times))
    close = 1.1 * np.exp(np.cumsum(np.sqrt(common) * shared + np.sqrt(1 - common) * own) * 0.1)
    volume = 1.0 + np.arange(len(times)) % 97
    prices = dict.fromkeys(("open", "close"), close) | {"high": close * 1.0001, "low": close * 0.9999}
    return BarFile(name, "CSV", "UTC (in the file)", times, **prices, volume=volume, spread=None, tradable=None,
                   decimals=5, broker_time=False, naive=False)  # fmt: skip


def on_clock(file: BarFile, zone: str) -> BarFile:
    """The bars of a file with stamps of a local clock that are read as UTC."""
    times = read_zone(zone).from_utc(file.timestamps)
    return pick(dataclasses.replace(file, timestamps=times), np.diff(times, prepend=times[:1] - 1) > 0)


def pick(file: BarFile, rows: np.ndarray) -> BarFile:
    columns = ("timestamps", "open", "high", "low", "close", "volume")
    return dataclasses.replace(file, **{name: getattr(file, name)[rows] for name in columns})


def put(folder: Path, name: str, file: BarFile, style: str = "text") -> None:
    """Write a file with its stamps as epochs, as UTC or without an offset."""
    texts = [str(time) for time in file.timestamps.astype("datetime64[s]")]
    stamps = {"epoch": file.timestamps.tolist(), "utc": [text + "Z" for text in texts], "text": texts}[style]
    rows = zip(stamps, file.open, file.high, file.low, file.close, file.volume, strict=True)
    lines = [f"{t},{o:.5f},{h:.5f},{low:.5f},{c:.5f},{v:.0f},7\n" for t, o, h, low, c, v in rows]
    (folder / name).write_text("time,open,high,low,close,volume,spread\n" + "".join(lines))


ZONES = ["NewYork+7", "Europe/Helsinki", "Etc/GMT-2", "Etc/GMT-3", "Etc/GMT+5", "America/New_York", "America/Chicago",
         "Europe/London", "Europe/Berlin", "Asia/Kolkata", "Etc/GMT-8", "Australia/Sydney"]  # fmt: skip


@pytest.mark.parametrize("kind", ["currencies", "metals"])
@pytest.mark.parametrize("zone", ZONES)
def test_the_clock_of_a_file_is_found_from_its_weeks(zone, kind):
    file = on_clock(bar_file(week_times(kind)), zone)
    found = contradiction(file, weeks_of(file), UTC)
    assert found is not None and found.strong and found.likely[0] == zone
    read = dataclasses.replace(file, timestamps=read_zone(zone).to_utc(file.timestamps).utc)
    assert contradiction(read, weeks_of(read), read_zone(zone)) is None


@pytest.mark.parametrize("step", [60, 300, 900, 1800, 3600, 14_400])
@pytest.mark.parametrize("kind", ["currencies", "metals", "shares", "crypto"])
def test_a_file_on_its_own_clock_is_not_suspected(kind, step):
    file = bar_file(week_times(kind, last="2022-07-01" if step < 900 else "2024-01-01", step=min(step, 3600)))
    file = resample(file, "H4", UTC) if step == 14_400 else file
    assert contradiction(file, weeks_of(file), UTC) is None


@pytest.mark.parametrize("missing", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("kind", ["currencies", "metals"])
def test_missing_bars_are_no_evidence(kind, missing):
    file = bar_file(week_times(kind))
    file = pick(file, np.random.default_rng(3).random(len(file.close)) > missing)
    assert contradiction(file, weeks_of(file), UTC) is None


def test_a_session_that_ignores_daylight_saving_is_reported_and_not_refused(tmp_path):
    times = np.arange(seconds("2022-01-03"), seconds("2024-01-01"), 3600)
    hours = (times - 3 * 86_400) // 3600 % 168  # from Sunday 22:00 to Friday 21:00 UTC, with a break at 21:00
    times = times[(hours >= 22) & (hours < 5 * 24 + 21) & (hours % 24 != 21)]
    put(tmp_path, "XAUUSD.csv", bar_file(times), "utc")
    _, notices = load_bars(tmp_path, ["XAUUSD"], INSTRUMENTS)
    assert "weeks from 2022-01-09" in notices[0] and "no clock fits all of its weeks" in notices[0]


@pytest.mark.parametrize("zone", ["UTC", "Europe/London"])
@pytest.mark.parametrize("kind", ["currencies", "metals"])
def test_a_week_without_its_sunday_says_nothing(kind, zone):
    file = bar_file(week_times(kind))
    sunday = (read_zone(zone).from_utc(file.timestamps) // 86_400 + 4) % 7 == 0
    weeks = weeks_of(pick(file, ~sunday))
    assert len(weeks.opens) > 90 and not weeks.contradicts.any()


def test_closed_hours_that_are_filled_with_the_last_price_are_not_taken_for_trading():
    file = bar_file(week_times("currencies"))
    days = np.arange(file.timestamps[0], file.timestamps[-1], 3600)
    days = days[(days // 86_400 + 3) % 7 < 5]  # Monday to Friday in UTC, all hours
    row = np.searchsorted(file.timestamps, days, side="right") - 1
    real = file.timestamps[row] == days
    columns = {name: np.where(real, getattr(file, name)[row], file.close[row]) for name in ("open", "high", "low")}
    filled = dataclasses.replace(file, timestamps=days, close=file.close[row], volume=np.zeros(len(days)), **columns)
    assert not weeks_of(filled).contradicts.any()


@pytest.mark.parametrize(("weeks", "strong"), [(3, None), (5, False), (9, False), (11, True), (30, True)])
def test_few_weeks_are_a_notice_and_many_a_refusal(tmp_path, weeks, strong):
    times = week_times("currencies", "2023-01-01", str(np.datetime64("2023-01-01") + 7 * weeks))
    put(tmp_path, "EURUSD.csv", on_clock(bar_file(times), "NewYork+7"), "epoch")
    if strong:
        with pytest.raises(UserError, match=r"weeks open at Monday 00:00 .* its clock is probably NewYork"):
            load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
        return
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert any("NewYork+7" in notice for notice in notices) == (strong is not None)


@pytest.mark.parametrize("style", ["epoch", "utc"])
def test_stamps_that_state_utc_are_not_believed_where_weeks_contradict_them(tmp_path, style):
    right = bar_file(week_times("currencies"))
    put(tmp_path, "EURUSD.csv", on_clock(right, "NewYork+7"), style)
    with pytest.raises(UserError) as error:
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")
    assert "103 of its 103 weeks open at Monday 00:00 on the clock it is read on (UTC, which its stamps" in str(
        error.value
    )
    assert "Sunday 20:00 in New York, where currencies open on Sunday at 17:00" in str(error.value)
    assert "give `symbol_timezones` EURUSD=NewYork+7, or for all files `broker_timezone`" in str(error.value)
    forced = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7", force_broker_timezone=True)
    named = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, symbol_timezones=["EURUSD=NewYork+7"])
    for bars, notices in (forced, named):
        np.testing.assert_array_equal(bars.timestamps, right.timestamps)
        assert notices == []
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, symbol_timezones=["EURUSD=UTC"])  # the user insists
    assert len(notices) == 1 and "weeks open at Monday 00:00" in notices[0]


def test_a_zone_without_effect_is_reported(tmp_path):
    put(tmp_path, "EURUSD.csv", bar_file(week_times("currencies")), "utc")
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")
    assert len(notices) == 1 and "`broker_timezone` NewYork+7 has no effect on it" in notices[0]
    assert load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7", timeframe="D1")[1] == []


def test_a_wrong_zone_given_by_the_user_is_refused(tmp_path):
    times = week_times("currencies", "2021-01-03")
    put(tmp_path, "EURUSD.csv", on_clock(bar_file(times), "Europe/Helsinki"))
    with pytest.raises(UserError, match=r"from 2021-03-14 to 2023-10-29 open at .* is probably Europe/Helsinki"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")
    assert load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="Europe/Helsinki")[1] == []


def test_files_on_different_clocks_are_refused_with_the_lag(tmp_path):
    times = week_times("currencies")
    put(tmp_path, "EURUSD.csv", bar_file(times, 1), "epoch")
    put(tmp_path, "GBPUSD.csv", on_clock(bar_file(times, 2), "NewYork+7"))
    with pytest.raises(UserError) as error:
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    message = str(error.value)
    assert message.startswith(
        "GBPUSD.csv is stamped 3 h later than EURUSD.csv: their returns correlate at a lag of 3 H1 bars (0."
    )
    assert "not in the same bar" in message and "those of EURUSD.csv open at Sunday 17:00 there" in message
    assert message.endswith("its clock is probably NewYork+7: give `symbol_timezones` GBPUSD=NewYork+7")
    bars, notices = load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS, symbol_timezones=["GBPUSD=NewYork+7"])
    assert notices == [] and bars.tradable.all()


def test_frames_pass_the_same_checks():
    pd = pytest.importorskip("pandas")
    times = week_times("currencies")
    files = {"EURUSD": bar_file(times, 1), "GBPUSD": on_clock(bar_file(times, 2), "NewYork+7")}
    columns = ("open", "high", "low", "close", "volume")
    frames = {
        symbol: pd.DataFrame({"time": file.timestamps} | {name: getattr(file, name) for name in columns})
        for symbol, file in files.items()
    }
    with pytest.raises(
        UserError, match="frame GBPUSD is stamped 3 h later than frame EURUSD: their returns correlate at a lag of"
    ):
        load_frames(frames, [], INSTRUMENTS)
    bars, _ = load_frames(frames, [], INSTRUMENTS, symbol_timezones=["GBPUSD=NewYork+7"])
    np.testing.assert_array_equal(bars.timestamps, times)


@pytest.mark.parametrize(("step", "last"), [(60, "2022-02-01"), (900, "2022-06-01"), (3600, "2024-01-01")])
def test_bars_stamped_at_their_end_are_found_and_can_be_declared(tmp_path, step, last):
    times = week_times("currencies", last=last, step=step)
    late = bar_file(times, 2)
    put(tmp_path, "EURUSD.csv", bar_file(times, 1), "utc")
    put(tmp_path, "GBPUSD.csv", dataclasses.replace(late, timestamps=times + step), "utc")
    with pytest.raises(UserError, match=r"GBPUSD.csv is stamped .* later than EURUSD.csv: .* a lag of 1 [MH]\d+ bar .*"
                                        r"stamped at .* end.*: give `symbol_bar_stamps` GBPUSD=close"):  # fmt: skip
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    bars, notices = load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS, symbol_bar_stamps=["GBPUSD=close"])
    np.testing.assert_array_equal(bars.timestamps, times)
    assert notices == [] and bars.tradable.all()
    bars, _ = load_bars(tmp_path, ["GBPUSD"], INSTRUMENTS, bar_stamps="close")
    np.testing.assert_array_equal(bars.timestamps, times)


@pytest.mark.parametrize("timeframe", ["H4", "D1"])
def test_long_bars_stamped_at_their_end_are_found(tmp_path, timeframe):
    times = week_times("currencies")
    early, late = (resample(bar_file(times, seed), timeframe, UTC) for seed in (1, 2))
    put(tmp_path, "EURUSD.csv", early, "utc")
    put(tmp_path, "GBPUSD.csv", dataclasses.replace(late, timestamps=late.timestamps + late.interval), "utc")
    with pytest.raises(UserError, match=rf"a lag of 1 {timeframe} bar .* give `symbol_bar_stamps` GBPUSD=close"):
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    bars, notices = load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS, symbol_bar_stamps=["GBPUSD=close"])
    np.testing.assert_array_equal(bars.timestamps, early.timestamps)
    assert notices == []


def test_a_lag_between_two_declared_clocks_is_a_notice(tmp_path):
    times = week_times("crypto", last="2022-06-01")
    put(tmp_path, "EURUSD.csv", bar_file(times, 1))
    put(tmp_path, "GBPUSD.csv", on_clock(bar_file(times, 2), "Etc/GMT-5"))
    one, both = ["GBPUSD=UTC"], ["EURUSD=UTC", "GBPUSD=UTC"]
    with pytest.raises(UserError, match=r"GBPUSD.csv is stamped 5 h later than EURUSD.csv: .* \(or both as they are"):
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS, symbol_timezones=one)
    _, notices = load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS, symbol_timezones=both)
    assert len(notices) == 1 and "correlate at a lag of 5 H1 bars" in notices[0]


def test_an_index_that_leads_another_by_a_day_is_a_notice(tmp_path):
    times = resample(bar_file(week_times("currencies")), "D1", UTC).timestamps
    instruments = dict(INSTRUMENTS, JP225=dataclasses.replace(INSTRUMENTS["SPX500"], symbol="JP225", aliases=(),
                                                              profit_currency="JPY", digits=1))  # fmt: skip
    first = resample(bar_file(week_times("currencies"), 1), "D1", UTC)
    put(tmp_path, "SPX500.csv", first)
    second = resample(bar_file(week_times("currencies"), 2), "D1", UTC)
    put(tmp_path, "JP225.csv", dataclasses.replace(second, timestamps=times + 86_400))
    _, notices = load_bars(tmp_path, ["SPX500", "JP225"], instruments)
    assert any("correlate at a lag of 1 D1 bar" in notice for notice in notices)


def test_days_that_are_stamped_at_their_end_open_at_midnight_of_the_zone():
    days = read_zone("NewYork+7").to_utc(np.arange(seconds("2023-03-06"), seconds("2023-03-17"), 86_400)).utc
    opened = opens_of(bar_file(days), read_zone("NewYork+7"))
    np.testing.assert_array_equal(opened.timestamps[1:], days[:-1])  # clocks change on the 12th


@pytest.mark.parametrize("name", ["EURUSD.Bid.txt", "DAT_ASCII_EURUSD_M1_2023.csv", "EURUSD.csv"])
def test_the_form_of_two_programs_is_named_for_both(tmp_path, name):
    (tmp_path / name).write_text("".join(f"20240102 13{m:02d}00;1.10001;1.2;1.0;1.1;{m + 1}\n" for m in range(40)))
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert "HistData" in notices[0] and "EURUSD=Etc/GMT+5" in notices[0]
    assert "NinjaTrader" in notices[0] and "EURUSD=close" in notices[0]
    for declared in ({"symbol_timezones": ["EURUSD=Etc/GMT+5"]}, {"symbol_bar_stamps": ["EURUSD=close"]}):
        _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, **declared)
        assert len(notices) == 1 and "spread" in notices[0]


@pytest.mark.parametrize("zone", [None, "NewYork+7", "Etc/GMT-8"])
def test_lags_are_found_among_correlated_files_only(zone):
    times = week_times("currencies")
    files = [bar_file(times, seed) for seed in (1, 2)] + [bar_file(times, 3, common=0.0)]
    assert find_lags(files) == []
    if zone is None:
        return
    lags = find_lags([files[0], on_clock(files[1], zone), files[2]])
    assert [(lag.early, lag.late) for lag in lags] == [(0, 1)]
    assert lags[0].seconds == {"NewYork+7": 3 * 3600, "Etc/GMT-8": 8 * 3600}[zone]


def test_a_clock_that_is_wrong_for_some_years_is_reported(tmp_path):
    times = week_times("crypto", "2018-01-01", "2024-01-01", 3600 * 2)
    early = times < seconds("2019-01-01")
    file = bar_file(times, 2)
    moved = dataclasses.replace(file, timestamps=np.where(early, times - 7200, times))
    put(tmp_path, "EURUSD.csv", bar_file(times, 1))
    put(tmp_path, "GBPUSD.csv", moved)
    _, notices = load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    about = [notice for notice in notices if "correlate at a lag of 1 H2 bar" in notice]
    assert len(about) == 1 and "in 2018; one clock is wrong in that time" in about[0]
    assert not any("lag" in n for n in load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS, "2019-01-01")[1])


def test_likely_zones_are_none_where_none_fits():
    file = bar_file(week_times("currencies"))
    half = len(file.timestamps) // 2
    late = np.where(np.arange(len(file.timestamps)) < half, 0, 5 * 3600)
    weeks = weeks_of(dataclasses.replace(file, timestamps=file.timestamps + late))
    assert likely_zones(weeks, UTC) == ()


def test_hours_that_occur_twice_name_the_zones_where_they_do():
    assert repeating_zones(np.array([seconds("2023-11-05T01:30")]))[0] == "America/New_York"
    assert repeating_zones(np.array([seconds("2023-10-29T01:30")])) == ("Europe/London",)
    assert repeating_zones(np.array([seconds("2023-10-29T12:30")])) == ()


def test_the_same_local_hour_twice_asks_for_the_zone_and_not_for_deletion(tmp_path):
    utc = np.arange(seconds("2023-10-20"), seconds("2023-11-20"), 3600)
    file = dataclasses.replace(bar_file(utc), timestamps=read_zone("America/New_York").from_utc(utc))
    put(tmp_path, "EURUSD.csv", file)
    with pytest.raises(UserError, match=r"occurs twice in America/New_York .*: keep both rows, and name the zone"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    bars, _ = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="America/New_York")
    np.testing.assert_array_equal(bars.timestamps, utc)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"symbol_timezones": ["EURUSD"]}, '`symbol_timezones` "EURUSD": must be a symbol and its value, such as EU'),
        ({"symbol_timezones": ["EURUSD=Mars"]}, "`symbol_timezones` Mars: no such zone"),
        ({"symbol_timezones": ["EURUSD=UTC", "EURUSD=UTC"]}, "`symbol_timezones`: EURUSD is given twice"),
    ],
)
def test_wrong_declarations_are_refused(tmp_path, options: Mapping[str, list[str]], message):
    put(tmp_path, "EURUSD.csv", bar_file(week_times("crypto", last="2022-02-01")))
    with pytest.raises(UserError) as error:
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, **options)
    assert message in str(error.value)


@needs_data
@pytest.mark.parametrize("folder", ["h1", "h1_long", "d1"])
def test_real_bars_pass(folder):
    symbols = [path.name.partition(".")[0] for path in sorted((SHARED / folder).glob("*.gz"))]
    symbols = [s for s in symbols if s in INSTRUMENTS and (folder, s) != ("d1", "WTIUSD")]
    bars, notices = load_bars(SHARED / folder, symbols, INSTRUMENTS)
    assert len(bars.symbols) == len(symbols)
    about = [notice for notice in notices if "correlate" in notice or "weeks" in notice]
    # GBPUSD and USDJPY of the long set are an hour early against all others until 2014.
    assert len(about) == (2 if folder == "h1_long" else 0)
    assert all("1 h earlier than" in notice and "2013, 2014" in notice for notice in about)


@needs_data
def test_real_clocks_are_recognised():
    raw = SHARED / "raw_formats"
    real = {
        "integer_points_GBPUSD_H1": "Europe/Helsinki",
        "mt5_export_tab_EURUSD_H1": "NewYork+7",
        "mt5_python_server_time_USOIL_H1": "NewYork+7",
    }
    for name, zone in real.items():
        file = read_bar_file(raw / f"{name}.csv")
        found = contradiction(file, weeks_of(file), UTC)
        assert found is not None and found.strong and zone in found.likely
        read = read_bar_file(raw / f"{name}.csv", read_zone(zone))
        assert contradiction(read, weeks_of(read), read_zone(zone)) is None
    others = [*(SHARED / "h1").iterdir(), *(SHARED / "h1_long").iterdir()]
    others += [path for path in raw.iterdir() if path.stem not in real and "yfinance_multiheader" not in path.name]
    for path in others:
        file = read_bar_file(path)
        assert contradiction(file, weeks_of(file), UTC) is None, path.name


@needs_cases
def test_cases_of_wrong_clocks():
    epoch, text = (CASES / "01_mt5_epoch_server_time" / name for name in ("epoch", "text"))
    with pytest.raises(UserError, match=r"51 of its 51 weeks open at Monday 00:00 .* is probably NewYork"):
        load_bars(epoch, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")
    forced, _ = load_bars(epoch, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7", force_broker_timezone=True)
    right, _ = load_bars(text, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")
    for name in ("timestamps", "open", "high", "low", "close", "spread", "volume", "tradable"):
        np.testing.assert_array_equal(getattr(forced, name), getattr(right, name))
    two = ["EURUSD", "GBPUSD"]
    with pytest.raises(UserError, match=r"a lag of 3 H1 bars \(0.48\) and not in the same bar \(-0.015\)"):
        load_bars(CASES / "02_mixed_clocks" / "mixed", two, INSTRUMENTS)
    ninja = CASES / "07_ninjatrader" / "bars"
    with pytest.raises(UserError, match=r"a lag of 1 H1 bar .* give `symbol_bar_stamps` GBPUSD=close"):
        load_bars(ninja, two, INSTRUMENTS)
    bars, _ = load_bars(ninja, two, INSTRUMENTS, symbol_bar_stamps=["GBPUSD=close"])
    returns = np.diff(np.log(bars.close[0]), axis=0)
    assert np.corrcoef(returns.T)[0, 1] > 0.7
