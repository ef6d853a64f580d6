"""The generated functions, compiled as C++, against the desk: features, the model's account, limits and orders."""

from __future__ import annotations

import pytest

from mtquant_jax.deploy.mql5.equality import decide_by_training, measure

NEAR = 1e-6
SENSITIVE = {"bollinger": 2e-5, "volume_score": 5e-6, "macd_histogram": 3e-6}
"""Features that are differences of nearly equal numbers: two orders of float32 rounding differ by that much."""


@pytest.fixture(scope="module")
def found(compiler, trading_desk, advisor, walk, tmp_path_factory):
    decide = decide_by_training(trading_desk, advisor)
    return measure(trading_desk, advisor, walk, 260, tmp_path_factory.mktemp("equality"), decide)


def test_every_feature_is_the_training_s(found) -> None:
    assert found.prices == 0.0
    wrong = {name: gap for name, gap in found.features.items() if gap > SENSITIVE.get(name, NEAR)}
    assert not wrong
    assert max(found.macro.values()) < 1e-5, found.macro
    assert found.domain.pop("dispersion") < 1e-4  # the root of a difference: small ones lose half of their digits
    assert max(found.domain.values()) < 2e-6, found.domain
    assert found.covariance < 1e-4


def test_every_decision_and_every_order_is_the_desk_s(found) -> None:
    assert found.decisions == 160
    assert found.weights < 2e-6
    assert found.equity < 1e-6
    assert found.orders > 0
    assert found.other_orders == 0
