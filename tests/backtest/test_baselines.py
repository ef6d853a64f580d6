"""Rules without learning on a market of two instruments and four days, traded like a policy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.backtest.baselines import baselines
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.market.features import FEATURE_NAMES
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import SpecialistEnv, SpecialistObservation
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices

ENV = SpecialistEnv(REWARDS["log_growth"])
NUM_BARS, DAY = 49, 12
LAST = NUM_BARS - 2  # steps of a backtest: the first decision is taken at the close of bar 0
TRADED = 1e-5  # less is rounding


def market(features=None, num_instruments=2, **table):
    """Prices that fall by 0.1, 0.2, ... % a bar, opening where they closed; a day has twelve bars.

    With half of equity at most in positions, these only get smaller by themselves: nothing outgrows a full one.
    """
    closes = np.exp(-1e-3 * np.arange(NUM_BARS)[:, None] * (1.0 + np.arange(num_instruments)))
    opens = np.concatenate([closes[:1], closes[:-1]])
    seen = np.zeros((NUM_BARS, num_instruments, len(FEATURE_NAMES)))
    for name, values in (features or {}).items():
        seen[..., FEATURE_NAMES.index(name)] = values
    day = np.arange(NUM_BARS) // DAY
    table = make_table(opens, closes, spread=1e-5, features=seen, day=day, **table)
    return make_params(table, make_contracts(num_instruments), leverage=0.5)


def rule(name, turnover=0.0):
    (found,) = (one for one in baselines(turnover) if one.name == name)
    return found


def traded(name, params, steps=LAST, turnover=0.0):
    return backtest(ENV, rule(name, turnover), steps, {}, {}, params, jnp.int32(0))


def bars_with_trades(record):
    return np.flatnonzero(np.asarray(record.turnover)[:, 0] > TRADED).tolist()


def wanted(name, params, bar, held, turnover=0.0):
    """The relative weights that a rule wants ``[C]``."""
    observation = SpecialistObservation(
        path=jnp.int32(0),
        bar=jnp.int32(bar),
        relative_weights=f32(held),
        tilt=f32(held),
        anchor=jnp.zeros(len(held)),
        drawdown=jnp.zeros(()),
    )
    return np.asarray(rule(name, turnover).target(observation, params.table))


def test_there_is_one_rule_of_each_name_and_equal_rules_share_a_program():
    names = [one.name for one in baselines(0.01)]
    assert len(set(names)) == len(names) == 7
    assert baselines(0.01) == baselines(0.01)
    assert hash(baselines(0.01)) == hash(baselines(0.01))
    assert baselines(0.01) != baselines(0.02)


def test_flat_never_trades():
    record = traded("flat", market())
    assert not np.any(record.turnover)
    np.testing.assert_array_equal(record.equity, np.ones((LAST + 1, 1)))


def test_buy_and_hold_buys_once():
    record = traded("buy and hold", market())
    assert bars_with_trades(record) == [0]
    assert float(record.turnover[0, 0]) == pytest.approx(0.5, rel=1e-3)
    assert float(record.exposure[-1, 0]) > 0.4


def test_buy_and_hold_sells_only_what_outgrows_a_full_position():
    # Both rise by 0.2 % a bar, of which half of equity has its share: 0.1 % of the position is too much.
    closes = np.exp(0.002 * np.arange(NUM_BARS))[:, None] * np.ones((1, 2))
    opens = np.concatenate([closes[:1], closes[:-1]])
    record = traded("buy and hold", make_params(make_table(opens, closes), leverage=0.5))
    np.testing.assert_allclose(np.asarray(record.turnover)[1:], 0.5 * 0.001, rtol=0.01)


def test_equal_weight_is_brought_back_to_it_once_a_day():
    params = market()
    record = traded("equal weight", params)
    # Decisions at the closes of bars 0 (it holds nothing), 12, 24 and 36.
    assert bars_with_trades(record) == [0, 12, 24, 36]
    assert float(record.turnover[0, 0]) == pytest.approx(0.5, rel=1e-3)
    # Equity falls by 0.25 x (0.1 + 0.2) = 0.075 % a bar: after twelve the positions are 0.3 and 1.5 % too small.
    np.testing.assert_allclose(np.asarray(record.turnover)[[12, 24, 36]], 0.25 * (0.003 + 0.015), rtol=0.03)
    np.testing.assert_array_equal(wanted("equal weight", params, 12, [0.9, 1.1]), [1.0, 1.0])
    np.testing.assert_array_equal(wanted("equal weight", params, 13, f32([0.9, 1.1])), f32([0.9, 1.1]))


def test_inverse_volatility_holds_the_calmest_fully_and_the_others_by_their_ratio():
    # Volatilities 0.002 and 0.005: weights 1 and 0.4. Padding has no variance and gets nothing.
    params = market(covariance=np.array([[4e-6, 1e-6], [1e-6, 25e-6]]))
    np.testing.assert_allclose(wanted("inverse volatility", params, 0, [0.0, 0.0]), [1.0, 0.4], rtol=1e-6)
    np.testing.assert_allclose(wanted("inverse volatility", params, 13, [0.3, 0.2]), [0.3, 0.2], rtol=1e-6)
    record = traded("inverse volatility", params)
    assert bars_with_trades(record) == [0, 12, 24, 36]
    assert float(record.exposure[0, 0]) == pytest.approx(0.25 + 0.1, rel=0.01)
    padded = market(covariance=np.diag([4e-6, 0.0]))
    np.testing.assert_array_equal(wanted("inverse volatility", padded, 0, [0.0, 0.0]), [1.0, 0.0])


def test_momentum_follows_the_sign_of_120_bars_once_a_day():
    # Up for the first instrument and down for the second until bar 17, then the other way round.
    momentum = np.where(np.arange(NUM_BARS) < 18, 0.2, -0.2)[:, None] * np.array([1.0, -1.0])
    params = market({"return_120": momentum})
    np.testing.assert_array_equal(wanted("momentum of 120 bars", params, 12, [0.5, 0.5]), [1.0, -1.0])
    np.testing.assert_array_equal(wanted("momentum of 120 bars", params, 18, [1.0, -1.0]), [1.0, -1.0])
    np.testing.assert_array_equal(wanted("momentum of 120 bars", params, 24, [1.0, -1.0]), [-1.0, 1.0])
    record = traded("momentum of 120 bars", params)
    assert bars_with_trades(record) == [0, 12, 24, 36]
    assert float(record.turnover[24, 0]) == pytest.approx(1.0, rel=0.03)  # both are turned, a quarter of equity each


def test_the_trend_rule_turns_only_beyond_its_threshold():
    trend = np.zeros((NUM_BARS, 2))
    trend[5:9], trend[9:20], trend[20:] = [0.6, -0.6], [-0.4, 0.4], [-0.7, 0.1]
    params = market({"trend_20": trend})
    record = traded("trend of span 20", params)
    assert np.all(np.asarray(record.turnover)[:5] < TRADED)
    assert float(record.turnover[5, 0]) == pytest.approx(0.5, rel=0.01)
    # Bars 9 to 19 are within the threshold: nothing is done. In bar 20 the first is turned, the second goes on.
    assert np.all(np.asarray(record.turnover)[9:20] < TRADED)
    assert float(record.turnover[20, 0]) == pytest.approx(0.5, rel=0.03)
    np.testing.assert_array_equal(wanted("trend of span 20", params, 20, [1.0, -1.0]), [-1.0, -1.0])


@pytest.mark.parametrize("turnover", [0.02, 0.3])
def test_the_random_rule_trades_as_much_as_it_is_asked_to_and_the_same_every_time(turnover):
    num_bars, num_instruments = 4000, 8
    _, closes = random_prices(num_bars, num_instruments, seed=5, volatility=1e-5)
    params = make_params(make_table(closes, closes, features=np.zeros((num_bars, num_instruments, 1))))
    name, steps = "random, same turnover", num_bars - 2
    record, again = (traded(name, params, steps, turnover) for _ in range(2))
    # Each of eight instruments may use an eighth: the sum of traded value is their mean change of relative weight.
    assert float(np.mean(record.turnover)) == pytest.approx(turnover, rel=0.05)
    assert np.asarray(record.equity).tobytes() == np.asarray(again.equity).tobytes()
    assert np.all(np.asarray(record.exposure) < 1.0)
    mean, deviation = np.asarray(record.wanted.mean), np.sqrt(np.asarray(record.wanted.squares) / steps)
    assert np.abs(np.mean(mean)) < 0.1
    assert np.mean(deviation) == pytest.approx(np.sqrt(1 / 3), rel=0.1)


def test_the_random_rule_draws_anew_for_every_path_bar_and_instrument():
    params = market(num_instruments=3)
    two = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]) if leaf.ndim > 1 else leaf, params.table)
    observation = SpecialistObservation(
        path=jnp.array([[0, 0], [1, 1]]),
        bar=jnp.array([[3, 4], [3, 4]]),
        relative_weights=jnp.zeros((2, 2, 3)),
        tilt=jnp.zeros((2, 2, 3)),
        anchor=jnp.zeros((2, 2, 3)),
        drawdown=jnp.zeros((2, 2)),
    )
    drawn = np.asarray(rule("random, same turnover", 1.0).target(observation, two))
    assert drawn.shape == (2, 2, 3)
    assert len(np.unique(drawn)) == 12
    assert np.all(np.abs(drawn) <= 1.0)
    np.testing.assert_array_equal(drawn[0, 1], wanted("random, same turnover", params, 4, np.zeros(3), 1.0))


def test_a_rule_undoes_the_decay_of_positions_and_leaves_padding_alone():
    params = market()
    params = params.replace(
        mask=jnp.array([[True, False]]), rules=params.rules.replace(trade_decay=f32(0.1)), share=f32([[1.0, 0.0]])
    )
    record = traded("buy and hold", params, 10)
    # A full position in the only instrument that is real, half of equity; it falls by 0.1 % and equity by half of that.
    np.testing.assert_allclose(np.asarray(record.exposure)[:, 0], 0.5 * np.exp(-0.0005 * np.arange(1, 11)), rtol=1e-3)
    observation = SpecialistObservation(
        path=jnp.int32(0),
        bar=jnp.int32(5),
        relative_weights=f32([0.5, 0.0]),
        tilt=f32([0.5, 0.0]),
        anchor=jnp.zeros(2),
        drawdown=jnp.zeros(()),
    )
    # Wants 0.5 of what it holds, 0.9 x 0.5 would be left.
    change = rule("buy and hold").policy({}, {}, observation, params).mode()
    np.testing.assert_allclose(change, [[0.05, 0.0]], rtol=1e-5)
