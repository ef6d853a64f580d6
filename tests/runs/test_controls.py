"""The controls: an oracle is exploited, shuffled bars are not, and a leak is called one."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from mtquant_jax.cli import main
from mtquant_jax.market import controls as markets
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs import controls
from mtquant_jax.settings.layers import override_config
from mtquant_jax.training.compiling import Compiler

SETTINGS = {
    "quick_test": True,
    "algorithm": "pathwise",
    "phase1_timesteps": 15_000,
    "specialists": {"forex": {"symbols": ["EURUSD", "GBPUSD"], "domain": "forex", "batch_size": 125}},
    "market.num_paths": 2,
    "market.edge": 0.0,
}


def of(sharpe, error=1.0):
    return SimpleNamespace(sharpe=sharpe, sharpe_standard_error=error)


@pytest.mark.parametrize(
    ("market", "found", "usual", "verdict"),
    [
        ("as it is", of(7.9), of(7.9), ""),
        ("as it is", of(8.1), of(8.1), "TOO GOOD"),
        ("oracle", of(30.0), of(0.0), "exploited"),
        ("oracle", of(2.9), of(0.0), "NOT LEARNT"),
        ("oracle", of(30.0), of(29.0), "NOT LEARNT"),  # good without it, too
        ("oracle", of(None, None), of(0.0), "NOT LEARNT"),  # flat
        ("shuffled", of(2.9), of(0.0), "nothing found"),
        ("shuffled", of(None, None), of(0.0), "nothing found"),
        ("shuffled", of(3.1), of(0.0), "LEAK"),
        ("shuffled", of(-3.1), of(0.0), "pays for nothing"),
    ],
)
def test_what_a_result_says(market, found, usual, verdict):
    assert controls.verdict_of(market, found, usual) == verdict


@pytest.mark.slow
def test_a_training_that_learns_and_does_not_leak_and_one_that_does(monkeypatch):
    config = override_config(None, SETTINGS)
    market, compiler = prepare_market(config), Compiler()
    found = list(controls.run_controls(config, market, compiler))
    assert [(row.class_name, row.market, row.verdict) for row in found] == [
        ("forex", "as it is", ""),
        ("forex", "oracle", "exploited"),
        ("forex", "shuffled", "nothing found"),
    ]
    assert not any(row.failed for row in found)
    assert controls.verdict_of("as it is", of(9.0), of(9.0), is_real=False) == ""
    # The same with a feature that knows the next bar of whatever bars there are.
    prepare = controls.prepare_market

    def leaky(*arguments, **options):
        prepared = prepare(*arguments, **options)
        return dataclasses.replace(prepared, table=markets.with_oracle(prepared.table))

    monkeypatch.setattr(controls, "prepare_market", leaky)
    *_, last = controls.run_controls(config, market, compiler)
    assert last.market == "shuffled" and last.verdict == "LEAK" and last.failed


@pytest.mark.slow
def test_the_command_says_what_failed_and_ends_with_1(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text("specialists: {forex: {symbols: [EURUSD], domain: forex, batch_size: 125}}\n")
    flags = ["--config", str(file), "--quick-test", "--market.num-paths", "1", "--phase1-timesteps", "500"]
    code = main(["controls", *flags])
    printed = capsys.readouterr().out
    assert code == 1 and "NOT LEARNT: forex (oracle): it was told the next bar" in printed
    assert printed.count("forex  ") == 3 and "a control failed, by 3 standard errors" in printed
    assert not list(tmp_path.glob("logs")) and not list(tmp_path.glob("models"))
