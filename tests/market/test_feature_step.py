"""One step of the features: it makes the rows of the table, bar by bar, from a state that a history leaves."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mtquant_jax.market.bar_view import Bar, RecentBars, repeat_bar
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.calendar import bar_times
from mtquant_jax.market.features import (
    FeatureState,
    TablePlan,
    feature_bars,
    join_rows,
    replay,
    start,
    step,
    table_plan,
)
from mtquant_jax.types import Bars, MarketTable
from tests.market.random_bars import CLASSES, INSTRUMENTS, SYMBOLS, cut, random_bars, table_of


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def at(bars: Bar, index: int) -> Bar:
    return jax.tree.map(lambda leaf: leaf[index], bars)


def rows_from(state: FeatureState, bars: Bar, plan: TablePlan) -> MarketTable:
    """The table of bars, one step at a time."""
    host, rows = jax.tree.map(np.asarray, bars), []
    for index in range(len(host.times.day)):
        state, row = step(state, at(host, index), plan)
        rows.append(jax.device_get(row))
    return join_rows(jax.tree.map(lambda *leaves: np.stack(leaves), *rows))


def assert_agrees(steps: MarketTable, table: MarketTable, bars: slice = slice(None)) -> None:
    """Rows that were computed alone are those of some bars of the table: to 1e-6, covariances as correlations."""
    for field in dataclasses.fields(MarketTable):
        axes = (bars,) if field.name in ("day", "swap_nights") else (slice(None), bars)
        left, right = np.asarray(getattr(steps, field.name)), np.asarray(getattr(table, field.name))[axes]
        assert left.dtype == right.dtype and left.shape == right.shape, field.name
        scale = np.ones(())
        if field.name == "covariance":
            deviation = np.sqrt(np.diagonal(right, axis1=-2, axis2=-1)).astype(np.float64)
            scale = deviation[..., :, None] * deviation[..., None, :]
        np.testing.assert_allclose(left / scale, right / scale, rtol=0, atol=1e-6, err_msg=field.name)


@pytest.mark.slow
@pytest.mark.parametrize("closed_at_first", [0, 4])
def test_the_table_is_the_steps_one_after_the_other(closed_at_first):
    bars = random_bars(11, 420, num_paths=2)
    tradable = np.array(bars.tradable)
    tradable[:, :closed_at_first, 2:5] = False
    bars = dataclasses.replace(bars, tradable=tradable)
    plan = table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD")
    columns = feature_bars(bars, plan)
    steps = rows_from(start(at(columns, 0), plan), columns, plan)
    assert steps.features.shape[:3] == (2, 420, 8)
    assert_agrees(steps, table_of(bars))


@pytest.mark.slow
def test_steps_of_real_bars_agree_with_their_table(real_data):
    bars, _ = load_bars(real_data, SYMBOLS, INSTRUMENTS)
    plan = table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD")
    table, columns = table_of(bars), feature_bars(bars, plan)
    beginning = jax.tree.map(lambda leaf: leaf[:1500], columns)
    fresh = start(at(columns, 0), plan)
    assert_agrees(rows_from(fresh, beginning, plan), table, slice(0, 1500))
    # The live path: the history leaves a state, and each later bar is one step from it.
    last = len(bars.timestamps) - 500
    state, past = replay(fresh, feature_bars(cut(bars, 0, last), plan), plan)
    assert past.features.shape[1] == last
    live = feature_bars(cut(bars, last, last + 500), plan, before=int(bars.timestamps[last - 1]))
    assert_agrees(rows_from(state, live, plan), table, slice(last, None))


def test_a_history_may_be_replayed_in_parts():
    bars = random_bars(12, 600)
    plan = table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD")
    columns = feature_bars(bars, plan)
    state = start(at(columns, 0), plan)
    for half in (slice(0, 300), slice(300, 600)):
        state, part = replay(state, jax.tree.map(lambda leaf, half=half: leaf[half], columns), plan)
        assert_agrees(part, table_of(bars), half)


@pytest.mark.parametrize("zone", ["NewYork+7", "Europe/Athens"])
def test_the_calendar_of_one_bar_is_that_of_the_history(zone):
    # Four weeks of hours around the change of the clock in March 2024, without the weekends.
    opens = np.datetime64("2024-02-25T22:30", "s").astype(np.int64) + 3600 * np.arange(28 * 24)
    opens = opens[(opens // 86_400 + 3) % 7 < 5]
    history = bar_times(opens, ("Wed", "Fri"), zone)
    charged = np.flatnonzero(np.asarray(history.swap_nights).any(axis=-1))
    assert len(charged) > 4 * 5 - 3
    for index in (1, 2, 100, *charged):
        alone = bar_times(opens[index : index + 1], ("Wed", "Fri"), zone, before=int(opens[index - 1]))
        jax.tree.map(lambda one, all_, i=index: np.testing.assert_array_equal(one, all_[i : i + 1]), alone, history)
    assert np.asarray(history.swap_nights)[0].tolist() == [0.0, 0.0]


def test_a_ring_buffer_keeps_the_last_bars_in_order():
    bars = random_bars(13, 23, num_paths=2)
    columns = feature_bars(bars, table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD"))
    recent: RecentBars = repeat_bar(at(columns, 0), 5)
    for index in range(23):
        recent = recent.push(at(columns, index))
        for price in ("close", "high", "low"):
            values = np.asarray(getattr(columns, price))
            rows = np.maximum(np.arange(index - 4, index + 1), 0)  # the first bar stands in for older ones
            np.testing.assert_array_equal(recent.window(price, 5), values[rows])
            np.testing.assert_array_equal(recent.window(price, 1), values[rows[-1:]])
            np.testing.assert_array_equal(recent.ago(price, 3), values[rows[1]])
    for ask in (lambda: recent.window("close", 6), lambda: recent.ago("high", 5)):
        with pytest.raises(ValueError, match=r"of 5 bars ago; its feature must have a look_back of 5"):
            ask()


def test_a_step_changes_nothing_it_is_given():
    bars: Bars = random_bars(14, 3)
    plan = table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD")
    columns = feature_bars(bars, plan)
    state = start(at(columns, 0), plan)
    before = jax.tree.map(np.array, state)
    once, twice = (step(state, at(columns, 0), plan) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    jax.tree.map(np.testing.assert_array_equal, state, before)
