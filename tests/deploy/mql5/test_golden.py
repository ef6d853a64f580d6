"""The golden check: it passes with the training's own policies, and another model is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mtquant_jax.deploy.mql5.equality import decide_by_training


def test_another_policy_is_refused(chart, advisor, trading_desk) -> None:
    shapes = advisor.traced.shapes
    right = decide_by_training(trading_desk, advisor)
    chart.terminal.policy(lambda inputs: right(inputs) + np.float32(3e-5), shapes.num_inputs, shapes.action.size)
    try:
        assert chart.start(300) == 1
        assert "Golden check: action" in chart.log()
    finally:
        chart.terminal.policy(right, shapes.num_inputs, shapes.action.size)
    assert chart.restart() == 0
    assert "golden check passed" in chart.log()


def test_the_shipped_model_is_that_of_the_golden_numbers(advisor) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(advisor.files["decision.onnx"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert given.shape == [1, advisor.traced.shapes.num_inputs] and made.shape == [1, advisor.golden.action.size]
    found = session.run(None, {given.name: advisor.golden.inputs[None]})[0]
    np.testing.assert_allclose(found.reshape(-1), advisor.golden.action, rtol=1e-5, atol=1e-6)
