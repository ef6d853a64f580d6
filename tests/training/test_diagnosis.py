"""Each sentence of the diagnosis from figures made for it, and whole runs whose policies are made to collapse."""

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.backtest.scenarios import ScenarioPerformance
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.training import phases
from mtquant_jax.training.diagnosis import ANCHORS, TO_DO, diagnose, diagnose_training, grouped
from mtquant_jax.training.loop import closing_metrics
from mtquant_jax.training.observer import Member
from tests.backtest.performances import ALLOCATION, HEALTHY, a_performance

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
SYMBOLS = {"forex": ("EURUSD", "GBPUSD", "USDJPY")}
FLAT = {"sharpe": None, "sharpe_standard_error": None, "total_return": 0.0, "mean_exposure": 0.0, "time_in_market": 0.0}
TRAINING = {"action_std": 0.6, "action_std_at_start": 1.0, "explained_variance": 0.2, "entropy": 3.0}


def findings(changes, **others):
    """Kinds and sentences about forex with healthy figures but for ``changes``."""
    found = diagnose("forex", a_performance(**changes), SYMBOLS, **others)
    return [(f.agent, f.kind) for f in found], " | ".join(f.sentence for f in found)


def test_a_healthy_policy_gets_no_sentence():
    # A switch that is long or short to the full, by turns, decides: it is not pinned.
    assert findings({}) == ([], "")
    assert diagnose_training("forex", TRAINING, 50) == []


def test_a_flat_policy_is_told_with_its_time_in_market():
    kinds, text = findings(FLAT)
    assert kinds == [("forex", "flat")]
    assert text == (
        "forex is flat: it was in the market on 0.0 % of the validation bars, so its profit is exactly nothing. What "
        "to do: costs may be higher than what can be forecast: try a smaller simulation.cost_multiplier to see; see "
        "docs/troubleshooting.md#a-policy-is-flat"
    )


def test_a_policy_that_is_hardly_ever_in_the_market_is_flat_and_not_worse_than_flat():
    kinds, text = findings(FLAT | {"time_in_market": 0.004, "total_return": -2e-5, "mean_exposure": 1e-5})
    assert kinds == [("forex", "flat")]
    assert "on 0.4 % of the validation bars, so its profit of -0.002 % means nothing" in text


def test_orders_too_small_for_whole_lots_are_told_apart():
    _, text = findings(FLAT, continuous=HEALTHY)
    assert "Without lot rounding it would be there on 90.0 %" in text
    assert "simulation.initial_capital" in text
    assert "Costs" not in text


def test_lot_rounding_that_hides_a_loss_does_not_ask_for_more_capital():
    _, text = findings(FLAT, continuous=a_performance(total_return=-0.05, cost_share=0.06))
    assert "smaller than half the smallest lot. A larger account would not help: it would end at -5.00 %" in text
    assert "of which costs are 6.00 %" in text
    assert "initial_capital" not in text


def test_swap_that_eats_a_gain_is_told_from_costs():
    loss = {"total_return": -0.02, "gross_return": 0.02, "sharpe": -0.3}
    _, text = findings(loss | {"cost_share": 0.01, "swap_share": -0.03})
    assert "pays more for holding overnight than for trading: check the swaps" in text
    _, text = findings(loss | {"cost_share": 0.03, "swap_share": -0.01})
    assert "trades too much for it: train longer, or lower specialists.NAME.exploration_cost" in text


def test_a_scenario_in_which_a_gaining_policy_loses_is_told():
    scenarios = {
        "trending": ScenarioPerformance(sharpe=9.0, total_return=0.2),
        "ranging": ScenarioPerformance(sharpe=-3.4, total_return=-0.021),
        "crisis": ScenarioPerformance(sharpe=-0.4, total_return=-0.001),
        "neutral": ScenarioPerformance(sharpe=None, total_return=0.0),
    }
    kinds, text = findings({"scenarios": scenarios})
    assert kinds == [("forex", "scenario")]
    assert (
        "loses in ranging (-2.10 %, Sharpe -3.4). What to do: train longer, or do not trade it in such a market;"
        in text
    )
    # One that loses in all together is worse than flat; that says enough.
    assert findings({"scenarios": scenarios, "total_return": -0.01})[0] == [("forex", "worse_than_flat")]


def test_positions_at_one_bound_are_pinned():
    kinds, text = findings({"long_bound": [0.98, 0.2, 0.0], "short_bound": [0.0, 0.1, 0.95]})
    assert kinds == [("forex", "pinned")]
    assert "it wants EURUSD fully long on 98.0 %, USDJPY fully short on 95.0 % of the bars in the market" in text


def test_one_instrument_of_three_may_be_held_all_the_time():
    assert findings({"long_bound": [1.0, 0.2, 0.0]}) == ([], "")


def test_in_a_portfolio_the_pinned_specialist_is_named():
    classes = SYMBOLS | {"metals": ("XAUUSD",)}
    figures = a_performance(long_bound=(0.0, 0.0, 0.0, 0.99), short_bound=(0.0, 0.0, 0.0, 0.0))
    (found,) = diagnose("portfolio", figures, classes, note="the starting point of phase 3, handed on")
    assert (found.agent, found.kind) == ("metals", "pinned")
    assert found.sentence.startswith("metals (the starting point of phase 3, handed on) is pinned to a bound: it wants")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"capital_bound": [0.0, 0.97]}, "cash got more than 99 % of the capital on 97.0 % of the bars, so"),
        ({"capital_bound": [1.0, 0.0]}, "forex got more than 99 % of the capital on 100.0 % of the bars, so"),
        ({"risk_appetite_bound": [0.96, 0.0]}, "its risk appetite was below 1 % on 96.0 % of the bars, so"),
        ({"risk_appetite_bound": [0.0, 0.99]}, "its risk appetite was above 99 % on 99.0 % of the bars, so"),
        ({}, ""),
    ],
)
def test_a_pinned_allocation_is_told_by_place(changes, expected):
    figures = a_performance(allocation=dataclasses.replace(ALLOCATION, **changes))
    found = diagnose("portfolio", figures, {}, allocator="meta_controller", places=("forex", "cash"))
    assert [(f.agent, f.kind) for f in found] == [("meta_controller", "pinned")] * bool(expected)
    assert expected in "".join(f.sentence for f in found)


def test_all_in_cash_is_the_reason_of_a_flat_portfolio():
    figures = a_performance(**FLAT, allocation=dataclasses.replace(ALLOCATION, capital_bound=(0.0, 1.0)))
    found = diagnose("portfolio", figures, SYMBOLS, allocator="meta_controller", places=("forex", "cash"))
    assert [(f.agent, f.kind) for f in found] == [("portfolio", "flat"), ("meta_controller", "pinned")]


def test_costs_that_eat_a_gain_are_told():
    kinds, text = findings({"total_return": -0.013, "gross_return": 0.021, "cost_share": 0.033, "sharpe": -0.3})
    assert kinds == [("forex", "worse_than_flat")]
    assert "it earned 2.10 % before costs, and costs of 3.30 % and swap paid of 1.00 % made -1.30 % of it" in text
    assert (
        "of one checkpoint is 0.4 standard errors from zero (Sharpe -0.30 ± 0.80), and up to 2.0 may be chance" in text
    )


def test_a_loss_before_costs_is_told_with_its_standard_errors():
    kinds, text = findings({"total_return": -0.06, "gross_return": -0.03, "sharpe": -2.0, "swap_share": 0.001})
    assert kinds == [("forex", "worse_than_flat")]
    assert "it lost 3.00 % before costs already and ends at -6.00 % after costs of 2.00 % and swap received" in text
    assert "of one checkpoint is 2.5 standard errors from zero (Sharpe -2.00 ± 0.80), more than the 2.0 of" in text


@pytest.mark.parametrize(
    ("sharpe", "looks", "chance"),
    [(-0.88, 1, True), (-1.36, 1, True), (-1.59, 1, True), (-1.61, 1, False), (-2.0, 10, True), (-2.4, 10, False)],
)
def test_a_loss_is_more_than_chance_from_two_standard_errors_and_more_of_several_checkpoints(sharpe, looks, chance):
    _, text = findings({"total_return": -0.06, "gross_return": -0.03, "sharpe": sharpe}, looks=looks)
    assert ("may be chance" in text) == chance == ("of chance" not in text)
    assert ("of the best of 10 checkpoints" in text) == (looks == 10)


def test_a_ruined_policy_and_one_that_is_not_a_number():
    kinds, text = findings({"terminated": 3})
    assert kinds == [("forex", "ruined")]
    assert "on 3 of 4 validation paths" in text
    # Ruined at its first trade it is out of the market from then on, and yet not flat.
    kinds, _ = findings({"terminated": 4, "time_in_market": 0.001, "mean_exposure": 0.001, "total_return": -0.9})
    assert kinds == [("forex", "ruined"), ("forex", "worse_than_flat")]
    assert findings({"sharpe": float("nan"), "terminated": 4})[0] == [("forex", "not_a_number")]
    assert findings({"total_return": float("nan"), "sharpe": None})[0] == [("forex", "not_a_number")]


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"action_std": 0.01}, "exploration", "stopped exploring: its actions varied by 0.01 at the end"),
        ({"action_std": 4.0}, "exploration", "explores ever more: its actions varied by 4 at the end"),
        (
            {"explained_variance": -0.12},
            "critic",
            "explained nothing at the end of training (explained variance -0.12)",
        ),
        ({"entropy": float("nan")}, "not_a_number", "entropy not a number"),
    ],
)
def test_the_end_of_training_is_told(changes, kind, expected):
    (found,) = diagnose_training("forex", TRAINING | changes, 50)
    assert (found.agent, found.kind) == ("forex", kind)
    assert expected in found.sentence


def test_a_training_of_few_updates_is_not_judged_but_for_nan():
    assert diagnose_training("forex", TRAINING | {"explained_variance": -1.0, "action_std": 0.0}, 9) == []
    assert diagnose_training("forex", TRAINING | {"entropy": float("nan")}, 1)
    # What only the portfolio has is judged as far as it goes.
    assert diagnose_training("portfolio", {"exposure": 0.1}, 50) == []


def test_the_last_metrics_stand_under_the_agents_that_have_them():
    both, one = np.array([1.0, 2.0]), np.array(3.0)
    once = {"exposure": one, "time_in_market": one, "turnover": one}
    each = dict.fromkeys(("action_std", "explained_variance", "approximate_kl", "clip_fraction", "entropy"), both)
    program = SimpleNamespace(learner=PPO(num_minibatches=1, num_epochs=1))
    plan = SimpleNamespace(program=program, agents=("forex", "meta_controller"))
    member = Member(3, 0, 0, "portfolio", plan, validate=None)
    result = closing_metrics({"action_std": 9.0 * both}, once | each | {"ignored": both}, member)
    assert result["portfolio"] == {"exposure": 3.0, "time_in_market": 3.0, "turnover": 3.0}
    assert result["meta_controller"] == dict.fromkeys(each, 2.0) | {"action_std_at_start": 18.0}
    assert list(result) == ["portfolio", "forex", "meta_controller"]


def test_every_kind_has_its_section_in_the_page():
    headings = re.findall(r"^#+ (.*)$", PAGE.read_text(), re.MULTILINE)
    slugs = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(ANCHORS.values()) <= slugs


SEE = "; see docs/troubleshooting.md#a-policy-is-flat"


def listed_finding(phase, agent, kind="flat", to_do="wait"):
    return {"phase": phase, "agent": agent, "kind": kind, "sentence": f"{agent} is {kind}. So.{TO_DO[1:]}{to_do}{SEE}"}


def test_findings_of_one_kind_with_one_remedy_are_one_warning():
    findings = [
        listed_finding(1, "forex"),
        listed_finding(1, "equity", to_do="go"),
        listed_finding(1, "metals"),
        listed_finding(2, "meta_controller", kind="pinned"),
        listed_finding(3, "portfolio"),
    ]
    groups = grouped(findings)
    assert [(group.kind, group.what, group.to_do) for group in groups] == [
        ("flat", "phase 1: forex and metals; phase 3: portfolio are flat; the log has the figures", f"wait{SEE}"),
        ("flat", "phase 1: equity is flat. So", f"go{SEE}"),
        ("pinned", "phase 2: meta_controller is pinned. So", f"wait{SEE}"),
    ]
    assert [list(group.findings) for group in groups] == [[findings[i] for i in of] for of in ((0, 2, 4), (1,), (3,))]


def test_every_finding_says_what_to_do_and_every_kind_has_words_for_several():
    figures = [
        {"sharpe": float("nan")},
        {"terminated": 3},
        FLAT,
        {"long_bound": [0.98, 0.2, 0.0], "short_bound": [0.0, 0.1, 0.95]},
        {"total_return": -0.06, "gross_return": -0.03, "sharpe": -2.0},
        {"scenarios": {"ranging": ScenarioPerformance(sharpe=-3.4, total_return=-0.021)}},
    ]
    found = [f for changes in figures for f in diagnose("forex", a_performance(**changes), SYMBOLS, HEALTHY)]
    for changes in ({"action_std": 0.01}, {"explained_variance": -0.12}):
        found += diagnose_training("forex", TRAINING | changes, 50)
    assert {f.kind for f in found} == set(ANCHORS)
    for finding in found:
        (one,) = grouped([{"phase": 1, **dataclasses.asdict(finding)}])
        assert one.what.startswith("phase 1: ") and one.to_do.endswith(f"#{ANCHORS[finding.kind]}")
        assert finding.sentence == one.what.removeprefix("phase 1: ") + TO_DO + one.to_do
        (two,) = grouped([{"phase": 1, **dataclasses.asdict(finding)}, {"phase": 2, **dataclasses.asdict(finding)}])
        assert two.what.startswith("phase 1: forex; phase 2: forex ") and len(two.what) < 120


# Whole runs.


def results(run_dir, name):
    return json.loads((run_dir / f"logs/e2e_training/{name}.json").read_text())


def log_lines(run_dir):
    (log,) = (run_dir / "logs/e2e_training").glob("*.log")
    return log.read_text().splitlines()


def test_an_account_too_small_for_a_lot_ends_with_a_sentence_on_flat_policies(train, capsys):
    run_dir = train("--simulation.initial-capital", "20")
    expected = [(1, "forex"), (1, "commodities"), (1, "equity"), (2, "meta_controller"), (3, "portfolio")]
    diagnosis = results(run_dir, "training_summary")["diagnosis"]
    assert [(f["phase"], f["agent"]) for f in diagnosis if f["kind"] == "flat"] == expected
    flat = [finding["sentence"] for finding in diagnosis if finding["kind"] == "flat"]
    assert all("positions are smaller than half the smallest lot" in sentence for sentence in flat)
    assert "portfolio is flat" in diagnosis[-1]["sentence"]
    # Two lines each on standard output, of all that have the same.
    printed = capsys.readouterr().out.splitlines()
    groups = grouped(diagnosis)
    assert len(groups) < len(diagnosis)
    expected = [line for group in groups for line in (f"warning: {group.what}", f"  what to do: {group.to_do}")]
    assert printed[-2 - len(expected) : -2] == expected
    # The last lines of the log, just before those on the end and on what comes next.
    lines = log_lines(run_dir)
    assert "done in" in lines[-2] and "next: mtquant-jax evaluate --run-dir" in lines[-1]
    shown = lines[-2 - len(diagnosis) : -2]
    for line, finding in zip(shown, diagnosis, strict=True):
        assert "WARNING" in line
        assert line.endswith(f"phase {finding['phase']}: {finding['sentence']}")
    phase3 = results(run_dir, "phase3_results")
    assert phase3["diagnosis"] == [{k: v for k, v in f.items() if k != "phase"} for f in diagnosis if f["phase"] == 3]
    metrics = phase3["portfolio"]["training_metrics"]
    assert list(metrics) == ["portfolio", "forex", "commodities", "equity", "meta_controller"]
    assert metrics["portfolio"]["time_in_market"] > 0.5  # training is in continuous lots
    assert 0.4 < metrics["forex"]["action_std"] < 1.1  # the trade scale x exp(initial_log_std), hardly learnt


def test_policies_that_always_want_the_most_end_with_a_sentence_on_bounds(train, monkeypatch):
    original = phases.initialise

    def biased(network, example, seed):
        params = original(network, example, seed)
        if isinstance(network, phases.MetaNetwork):
            return params
        head = params["policy_head"]
        return {**params, "policy_head": {**head, "bias": head["bias"].at[:].set(20.0)}}

    def one_sided(config, market):
        meta = start_meta(config, market)
        meta.params["meta"]["class_bias"] = jnp.array([0.0, 20.0, 0.0])  # all capital to the second class
        return meta

    start_meta = phases.start_meta
    monkeypatch.setattr(phases, "initialise", biased)
    monkeypatch.setattr(phases, "start_meta", one_sided)
    run_dir = train("--phases", "1,2")
    found = [f for f in results(run_dir, "training_summary")["diagnosis"] if f["kind"] == "pinned"]
    assert [(f["phase"], f["agent"]) for f in found] == [
        (1, "forex"),
        (1, "commodities"),
        (1, "equity"),
        (2, "meta_controller"),
    ]
    assert "EURUSD fully long on 100.0 %" in found[0]["sentence"]
    assert "commodities got more than 99 % of the capital on 100.0 % of the bars" in found[3]["sentence"]
    text = "\n".join(log_lines(run_dir))
    assert all(f["sentence"] in text for f in found)
    validation = results(run_dir, "phase1_results")["specialists"]["forex"]["validation"]
    assert validation["pinned"] == pytest.approx(1.0, abs=0.01)
    assert validation["action_standard_deviation"] < 0.05


def test_costs_far_above_any_forecast_end_with_a_sentence(train):
    # Trades would be made small where costs are high, if exploration might not cost what it likes.
    free = [f"--specialists.{name}.exploration-cost" for name in ("forex", "commodities", "equity")]
    wide = [argument for flag in free for argument in (flag, "1000")]
    run_dir = train("--phases", "1", "--simulation.cost-multiplier", "30", *wide)
    found = results(run_dir, "phase1_results")["diagnosis"]
    assert {f["agent"] for f in found if f["kind"] == "worse_than_flat"} == {"forex", "commodities", "equity"}
    assert any(f["sentence"] in line for f in found for line in log_lines(run_dir))
