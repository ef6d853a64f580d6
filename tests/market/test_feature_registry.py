"""Adding a feature as docs/market_data.md says: one entry, and its column is in the table and in the step."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.market import averages
from mtquant_jax.market.averages import Channel
from mtquant_jax.market.domain import (
    CLASS_FEATURES,
    CLASS_NAMES,
    DOMAIN_FEATURES,
    MACRO_FEATURES,
    MACRO_NAMES,
    SPECIFIC_NAMES,
)
from mtquant_jax.market.features import (
    FEATURE_NAMES,
    FEATURES,
    LOOK_BACK_BARS,
    Feature,
    FeatureSet,
    feature_bars,
    start,
    step,
    table_plan,
)
from mtquant_jax.market.indicators import INSTRUMENT_FEATURES
from mtquant_jax.types import Bars, MarketTable
from tests.market.random_bars import CLASSES, INSTRUMENTS, cut, random_bars, table_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "market_data.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's blocks define, run in turn on 300 bars and 300 later ones; `plain` is their first table."""
    bars = random_bars(21, 600)
    names: dict[str, Any] = {
        "bars": bars,
        "history": cut(bars, 0, 300),
        "latest": cut(bars, 300, 600),
        "classes": CLASSES,
        "instruments": INSTRUMENTS,
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    blocks = [block for block in blocks if "MetaTrader5" not in block]  # runs beside a terminal only
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
        names.setdefault("plain", names["table"])
    return names


def last_step(bars: Bars, features: FeatureSet) -> MarketTable:
    """The row of the last of a few bars, by steps."""
    plan = table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD", features=features)
    columns = feature_bars(bars, plan)
    state = start(jax.tree.map(lambda leaf: leaf[0], columns), plan)
    for index in range(len(bars.timestamps)):
        state, row = step(state, jax.tree.map(lambda leaf, i=index: leaf[i], columns), plan)
    return row


def test_names_and_look_back_follow_from_the_tables():
    assert tuple(feature.name for feature in INSTRUMENT_FEATURES) == FEATURE_NAMES
    assert tuple(feature.name for feature in CLASS_FEATURES) == CLASS_NAMES
    assert tuple(feature.name for feature in MACRO_FEATURES) == MACRO_NAMES
    assert {name: tuple(f.name for f in features) for name, features in DOMAIN_FEATURES.items()} == SPECIFIC_NAMES
    assert LOOK_BACK_BARS == FEATURES.look_back == 240
    longer = dataclasses.replace(FEATURES, macro=(*MACRO_FEATURES, Feature("slow", 500, lambda view, all_: view.zero)))
    assert longer.look_back == 500


def test_the_step_of_the_page_continues_its_table(page):
    whole = table_of(page["bars"])
    for name in ("features", "domain", "macro", "swap_nights", "day"):
        bar = 300 if name in ("swap_nights", "day") else (slice(None), 300)
        row = np.asarray(getattr(whole, name))[bar]
        np.testing.assert_allclose(getattr(page["row"], name), row, rtol=0, atol=1e-6, err_msg=name)


def test_the_feature_of_the_page_is_a_column_of_the_table(page):
    features, plain = np.asarray(page["table"].features), np.asarray(page["plain"].features)
    np.testing.assert_allclose(features[..., :-1], plain, rtol=0, atol=1e-6)
    close, high = (np.asarray(getattr(page["history"], name))[0] for name in ("close", "high"))
    moves = np.log(close[1:] / close[:-1])
    # A return in its own deviation says what the deviation is, where it is neither tiny nor cut.
    scores = plain[0, 1:, :, FEATURE_NAMES.index("return_1")]
    clear = (np.abs(scores) > 0.1) & (np.abs(scores) < 4.9)
    volatility = moves / np.where(clear, scores, np.inf)
    for bar in (5, 47, 48, 299):
        distance = np.log(close[bar] / high[max(0, bar - 47) : bar + 1].max(0)) / np.sqrt(48.0)
        at = clear[bar - 1]
        assert at.any()
        np.testing.assert_allclose(features[0, bar, at, -1] * volatility[bar - 1, at], distance[at], rtol=1e-3)


@pytest.mark.slow
def test_a_feature_of_each_kind_is_one_entry_for_the_table_and_for_the_step(page):
    spread = Feature("spread", 0, lambda view: view.class_means(view.bar.spread))
    euro = Feature("first_return", 60, lambda view, members: view.features["return_1"][..., members[0]])
    count = Feature("count", 0, lambda view, members: view.zero + float(len(members)) / 8.0)
    features = FeatureSet(
        instrument=(*INSTRUMENT_FEATURES, page["entry"]),
        every_class=(*CLASS_FEATURES, spread),
        domains={**DOMAIN_FEATURES, "forex": (*DOMAIN_FEATURES["forex"], euro)},
        macro=(*MACRO_FEATURES, count),
    )
    table, plain, size = table_of(page["history"], features=features), page["plain"], FEATURES.domain_size
    domain, at = np.asarray(table.domain), len(CLASS_NAMES)
    assert domain.shape == (1, 300, 3, size + 2) and features.domain_size == size + 2
    np.testing.assert_allclose(domain[..., at], 0.01, rtol=1e-6)
    np.testing.assert_allclose(domain[..., 0, -1], np.asarray(plain.features)[..., 0, 0], atol=1e-6)
    assert np.all(domain[..., 1:, -1] == 0)  # other domains have no such column
    np.testing.assert_allclose(np.delete(domain, [at, size + 1], axis=-1), plain.domain, atol=1e-6)
    assert np.all(np.asarray(table.macro)[..., -1] == 1.0)
    row = last_step(cut(page["history"], 0, 60), features)
    for name in ("features", "domain", "macro"):
        expected = np.asarray(getattr(table, name))[:, 59]
        np.testing.assert_allclose(getattr(row, name), expected, rtol=0, atol=1e-6, err_msg=name)


def test_a_new_average_is_one_entry(page, monkeypatch):
    half = Channel(0.5, np.inf, lambda first: jnp.zeros_like(first.variance), lambda bar: 100.0 * bar.log_return)
    monkeypatch.setitem(averages.CHANNELS, "half", half)
    entry = Feature("half", 3, lambda view: view.averages.channel("half"))
    features = dataclasses.replace(FEATURES, instrument=(*FEATURES.instrument, entry))
    columns = np.asarray(table_of(page["history"], features=features).features)[0]
    np.testing.assert_allclose(columns[..., :-1], np.asarray(page["plain"].features)[0], atol=1e-6)
    close, tradable = (np.asarray(getattr(page["history"], name))[0] for name in ("close", "tradable"))
    average = np.zeros(8)
    for bar in range(1, 60):
        average += 0.5 * tradable[bar] * (100.0 * np.log(close[bar] / close[bar - 1]) - average)
        np.testing.assert_allclose(columns[bar, :, -1], average, atol=1e-4)


def test_mistakes_in_an_entry_are_named():
    bars = random_bars(24, 5)
    with pytest.raises(ValueError, match="Two features have the name rsi"):
        dataclasses.replace(FEATURES, instrument=(*FEATURES.instrument, Feature("rsi", 14, lambda view: view.moves)))
    wrong = Feature("wrong", 0, lambda view: view.bar.close[..., 0])
    with pytest.raises(ValueError, match=r"The feature wrong has the shape \(1,\); it must have \(1, 8\)"):
        table_of(bars, features=dataclasses.replace(FEATURES, instrument=(wrong,)))
    far = Feature("far", 10, lambda view, members: view.recent.ago("close", 300)[..., 0])
    with pytest.raises(ValueError, match="close of 300 bars ago; its feature must have a look_back of 300"):
        table_of(bars, features=dataclasses.replace(FEATURES, macro=(far,)))
