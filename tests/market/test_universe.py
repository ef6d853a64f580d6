"""Classes padded to one width: the position of each instrument, and padding that neither costs nor earns anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.market.universe import (
    Universe,
    arrange_contracts,
    arrange_table,
    class_contracts,
    class_table,
    universe_of,
)
from mtquant_jax.types import AssetClass
from tests.conftest import f32, make_contracts, make_table
from tests.simulation.markets import DEFAULT_CLASSES, make_universe, with_classes

# A table in another order than the classes: positions of a0, a1, b0 are 2, 0, 1.
SHUFFLED = Universe((AssetClass("a", ("a0", "a1")), AssetClass("b", ("b0",))), ("a1", "b0", "a0"))


def numbered_table():
    """Instrument i of the shuffled table is priced 10 + i, with a spread of 0.1 i."""
    prices = np.broadcast_to([10.0, 11.0, 12.0], (4, 3))
    table = with_classes(make_table(prices, prices + 0.5, spread=[0.0, 0.1, 0.2]), 2)
    covariance = np.arange(9.0).reshape(3, 3)
    return table.replace(covariance=jnp.broadcast_to(f32(covariance + covariance.T), (1, 4, 3, 3)))


def test_the_default_classes_are_padded_to_three():
    universe = universe_of(DEFAULT_CLASSES)
    assert (universe.num_classes, universe.width) == (3, 3)
    np.testing.assert_array_equal(universe.mask, [[1, 1, 1], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_allclose(universe.share, [[1 / 3] * 3, [0.5, 0.5, 0.0], [1 / 3] * 3], rtol=1e-6)
    assert universe.slots == (0, 1, 2, 3, 4, 6, 7, 8)
    assert universe.symbols == ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "WTIUSD", "SPX500", "NAS100", "US30")
    np.testing.assert_array_equal(universe.source, [0, 1, 2, 3, 4, 0, 5, 6, 7])


@pytest.mark.parametrize("sizes", [(1,), (4,), (1, 2, 1, 3), (3, 2, 3)])
def test_shares_of_every_class_sum_to_one_and_slots_hold_every_instrument_once(sizes):
    universe = make_universe(*sizes)
    np.testing.assert_allclose(universe.share.sum(-1), np.ones(len(sizes)), rtol=1e-6)
    assert universe.mask.sum(-1).tolist() == list(sizes)
    assert universe.source[list(universe.slots)].tolist() == list(range(sum(sizes)))
    assert universe.mask.shape == (len(sizes), max(sizes))


def test_an_arranged_table_follows_the_classes_and_prices_padding_at_one():
    arranged = arrange_table(numbered_table(), SHUFFLED)
    np.testing.assert_array_equal(SHUFFLED.source, [2, 0, 1, 0])
    np.testing.assert_array_equal(arranged.open[0, 0], [12.0, 10.0, 11.0, 1.0])
    np.testing.assert_array_equal(arranged.close[0, 3], [12.5, 10.5, 11.5, 1.0])
    np.testing.assert_allclose(arranged.spread[0, 0], [0.2, 0.0, 0.1, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(arranged.tradable[0, 0], [True, True, True, False])
    np.testing.assert_array_equal(arranged.conversion_open[0, 0], np.ones(4))
    table = numbered_table()
    np.testing.assert_array_equal(arranged.features[0, :, :3], table.features[0][:, [2, 0, 1]])
    assert not np.any(np.asarray(arranged.features[0, :, 3]))
    expected = np.zeros((4, 4))
    expected[:3, :3] = np.asarray(table.covariance[0, 0])[np.ix_([2, 0, 1], [2, 0, 1])]
    np.testing.assert_array_equal(arranged.covariance[0, 0], expected)
    np.testing.assert_array_equal(arranged.domain, table.domain)


def test_padding_is_finite_whatever_the_first_instrument_holds():
    table = numbered_table()
    broken = table.replace(
        features=table.features.at[:, :, 0].set(jnp.nan), spread=table.spread.at[:, :, 0].set(jnp.inf)
    )
    arranged = arrange_table(broken, SHUFFLED)
    assert not np.any(np.asarray(arranged.features[:, :, 3]))
    assert not np.any(np.asarray(arranged.spread[:, :, 3]))


def test_arranged_contracts_follow_the_classes_and_padding_is_free():
    contracts = make_contracts(3, size=[1.0, 2.0, 3.0], commission=[0.1, 0.2, 0.3], margin_rate=[0.01, 0.02, 0.03])
    arranged = arrange_contracts(contracts, SHUFFLED)
    np.testing.assert_allclose(arranged.contract_size, [3.0, 1.0, 2.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(arranged.commission, [0.3, 0.1, 0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(arranged.margin_rate, [0.03, 0.01, 0.02, 0.0], rtol=1e-6)


def test_a_class_is_its_part_of_the_arranged_market():
    table = arrange_table(numbered_table(), SHUFFLED)
    contracts = arrange_contracts(make_contracts(3, size=[1.0, 2.0, 3.0]), SHUFFLED)
    second = class_table(table, SHUFFLED, 1)
    np.testing.assert_array_equal(second.open[0, 0], [11.0, 1.0])
    np.testing.assert_array_equal(second.tradable[0, 0], [True, False])
    np.testing.assert_array_equal(second.domain[:, :, 0], table.domain[:, :, 1])
    assert second.domain.shape[2] == 1
    np.testing.assert_array_equal(second.covariance[0, 0], table.covariance[0, 0, 2:, 2:])
    np.testing.assert_array_equal(class_contracts(contracts, SHUFFLED, 1).contract_size, [2.0, 1.0])
    for name in ("macro", "day"):
        np.testing.assert_array_equal(getattr(second, name), getattr(table, name))


def test_concatenated_classes_equal_the_arranged_market():
    table = arrange_table(numbered_table(), SHUFFLED)
    parts = [class_table(table, SHUFFLED, i) for i in range(2)]
    for name in ("open", "close", "spread", "tradable", "conversion_open", "conversion_close", "features"):
        joined = np.concatenate([np.asarray(getattr(part, name)) for part in parts], axis=2)
        np.testing.assert_array_equal(joined, getattr(table, name))


def test_arranging_works_inside_a_compiled_program():
    table = numbered_table()
    compiled = jax.jit(lambda t: arrange_table(t, SHUFFLED))(table)
    for left, right in zip(jax.tree.leaves(compiled), jax.tree.leaves(arrange_table(table, SHUFFLED)), strict=True):
        np.testing.assert_array_equal(left, right)
