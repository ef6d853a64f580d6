"""The curriculum: its pace and shares by hand, where its episodes start, and a whole quick run under it."""

from __future__ import annotations

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.backtest.scenarios import ScenarioPerformance, by_scenario
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.market.synthetic.scenarios import SCENARIOS, STAGES
from mtquant_jax.settings.config import ScenarioName
from mtquant_jax.settings.layers import load_config
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.runner import runner_of
from tests.conftest import once
from tests.statistics.records import record

SIX = ("a", "b", "c", "d", "e", "f")


def scenarios(*sharpe: float | None) -> dict[str, ScenarioPerformance]:
    return {
        stage: ScenarioPerformance(sharpe=value, total_return=0.0) for stage, value in zip(SIX, sharpe, strict=True)
    }


LOSING, WINNING = scenarios(*[-1.0] * 6), scenarios(*[1.0] * 6)


def test_its_stages_are_all_scenarios_but_the_switching_edge_which_is_for_phase_2():
    assert set(STAGES) == set(ScenarioName.__args__) - {"edge_regimes"} and len(set(STAGES)) == len(STAGES)
    assert set(STAGES) <= set(SCENARIOS)


def test_the_pace_alone_opens_all_by_sixty_percent_of_the_phase():
    # 2 + floor(4 x (f / 0.6)^2): a quarter of the rest at half of the pace's time, 4 x (0.5 / 0.6)^2 = 2.78 at f = 0.5.
    expected = {0.0: 2, 0.1: 2, 0.3: 3, 0.45: 4, 0.5: 4, 0.59: 5, 0.6: 6, 1.0: 6}
    for fraction, num_open in expected.items():
        assert Curriculum.begin(SIX).after(fraction).num_open == num_open, fraction
        assert Curriculum.begin(SIX).after(fraction, LOSING).num_open == num_open, fraction
    assert Curriculum.with_all_open(SIX).after(0.0, LOSING).num_open == 6
    assert Curriculum.begin(SIX[:1]).after(1.0).num_open == 1


def test_a_good_validation_opens_one_more_or_what_twice_the_time_would():
    one = Curriculum.begin(SIX).after(0.1, WINNING)
    assert one.num_open == 3  # the pace at 0.2 is 2 + floor(4 / 9) = 2, so it is the one more
    assert one.after(0.15).num_open == 3  # nothing is opened, nor closed, without a validation
    assert one.after(0.25, WINNING).num_open == 4  # at 0.5: 2 + floor(2.78) = 4
    assert one.after(0.3, WINNING).num_open == 6
    # Only what is open counts: the mean of the first two is above zero, that of all is not.
    assert Curriculum.begin(SIX).after(0.0, scenarios(3.0, -2.0, -9.0, -9.0, -9.0, -9.0)).num_open == 3
    assert Curriculum.begin(SIX).after(0.0, scenarios(2.0, -2.0, 9.0, 9.0, 9.0, 9.0)).num_open == 2
    assert Curriculum.begin(SIX).after(0.0, scenarios(None, None, 9.0, 9.0, 9.0, 9.0)).num_open == 2  # flat


def test_shares_are_equal_before_the_first_validation_and_then_lean_to_what_goes_badly():
    np.testing.assert_allclose(Curriculum.begin(SIX).shares(), [0.5, 0.5, 0, 0, 0, 0])
    # Sharpe 3 and 1: standardised 1 and -1, so softmax e^-1 : e^1 = 0.1192 : 0.8808, half of it on top of 1/4 each.
    skewed = Curriculum(SIX, 2, (3.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(skewed.shares(), [0.3096, 0.6904, 0, 0, 0, 0], atol=1e-4)
    # Sharpe 0.1 apart is noise: standardised by 0.5, +-0.1, so softmax 0.4502 : 0.5498.
    close = Curriculum(SIX, 2, (0.1, 0.0, 0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(close.shares(), [0.4751, 0.5249, 0, 0, 0, 0], atol=1e-4)
    wild = Curriculum(SIX, 6, (50.0, 40.0, 1.0, -3.0, -80.0, float("-1e9")))
    assert wild.shares().sum() == pytest.approx(1.0) and wild.shares().min() >= 0.5 / 6
    probability = skewed.path_probability(12)
    assert probability.dtype == np.float32 and probability.shape == (12,)
    np.testing.assert_allclose(probability[:4], [0.1548, 0.1548, 0.3452, 0.3452], atol=1e-4)
    assert np.all(probability[4:] == 0.0)


def test_columns_are_the_same_with_and_without_a_validation():
    curriculum = Curriculum.begin(SIX)
    plain, judged = curriculum.columns(None), curriculum.columns(scenarios(1.0, None, 3.0, 4.0, 5.0, 6.0))
    assert list(plain) == list(judged) and plain["curriculum/sharpe/a"] is None
    assert (judged["curriculum/stage"], judged["curriculum/share/a"], judged["curriculum/sharpe/c"]) == (2.0, 0.5, 3.0)


def test_performance_is_told_apart_by_scenario():
    # Two paths of each scenario over three days: the first earns, the second is flat.
    day = np.repeat([0, 1, 2], 2)
    equity = np.ones((6, 4))
    equity[:, 0] = [1.0, 1.0, 1.1, 1.1, 1.3, 1.3]
    found = by_scenario(record(equity), day, ("good", "flat"))
    assert found["good"].total_return == pytest.approx(0.15, rel=1e-5) and found["good"].sharpe > 0.0
    assert found["flat"] == ScenarioPerformance(sharpe=None, total_return=0.0)


FOUR_CLASSES = """
specialists:
  majors: {symbols: [EURUSD], domain: forex, batch_size: 125}
  yen: {symbols: [USDJPY], domain: forex, batch_size: 125}
  metals: {symbols: [XAUUSD], batch_size: 125}
  indices: {symbols: [SPX500, NAS100], domain: equity, batch_size: 125}
"""


@pytest.fixture
def flags(tmp_path):
    """The curriculum, specialists side by side, of four classes."""
    (tmp_path / "four.yaml").write_text(FOUR_CLASSES, encoding="utf-8")
    return "--curriculum", "--config", str(tmp_path / "four.yaml")


@pytest.fixture
def run(train, flags, tmp_path_factory):
    """A quick run of all phases; phase 3 goes on in fewer environments than the others."""

    def build(folder):
        train(*flags, "--phases", "1,2", run_dir=folder)
        train(*flags, "--phases", "3", "--num-envs", "5", "--phase3-timesteps", "250", run_dir=folder)

    return once(tmp_path_factory, "curriculum", build)


@pytest.mark.slow
def test_the_market_has_equally_many_paths_of_every_scenario_stage_by_stage():
    config, _ = load_config(["--quick-test", "--curriculum", "--market.num-paths", "3"])
    market = prepare_market(config)
    assert market.stages == STAGES and market.table.open.shape[0] == 2 * len(STAGES)
    moves = (
        np.diff(np.log(np.asarray(market.table.close)), axis=1).std(axis=(1, 2)).reshape(len(STAGES), 2).mean(axis=1)
    )
    size = dict(zip(STAGES, moves, strict=True))
    assert size["low_volatility"] < 0.6 * size["neutral"] < 0.6 * size["high_volatility"] / 1.5
    assert "curriculum of 9 scenarios" in market.description
    params = class_params(config, market, 0)
    assert params.path_probability.shape == (18,) and params.path_probability.dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("phase", [1, 2, 3])
def test_a_run_tells_its_stage_and_shares_and_opens_everything(run, phase):
    with (run / f"metrics/training/phase{phase}_metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for agent in {row["agent"] for row in rows}:
        mine = [row for row in rows if row["agent"] == agent]
        open_stages = [float(row["curriculum/stage"]) for row in mine]
        assert open_stages == sorted(open_stages)
        if phase == 1:
            assert open_stages[0] == 2  # later phases begin with what the validation of their start opened
        assert open_stages[-1] >= 2 + int(7 * (0.5 / 0.6) ** 2) if phase < 3 else open_stages == [9, 9]
        for row in mine:
            shares = np.array([float(row[f"curriculum/share/{stage}"]) for stage in STAGES])
            assert shares.sum() == pytest.approx(1.0)
            assert np.count_nonzero(shares) == float(row["curriculum/stage"])
    results = json.loads((run / f"logs/e2e_training/phase{phase}_results.json").read_text())
    assert "curriculum of 9 scenarios" in results["market"]
    reports = results["specialists"].values() if phase == 1 else [results[("meta_controller", "portfolio")[phase - 2]]]
    for report in reports:
        assert list(report["validation"]["scenarios"]) == list(STAGES)
        assert all("scenarios" in entry for entry in report["history"])
    text = "".join(path.read_text() for path in (run / "logs/e2e_training").glob("*.log"))
    assert "curriculum opens neutral" in text


def test_a_fourth_class_and_other_symbols_need_only_yaml(run):
    phase1 = json.loads((run / "logs/e2e_training/phase1_results.json").read_text())
    assert list(phase1["specialists"]) == ["majors", "yen", "metals", "indices"]
    assert (run / "models/specialists/yen_specialist.zip").is_file()


def test_without_the_flag_there_is_none(synthetic_run):
    with (synthetic_run / "metrics/training/phase1_metrics.csv").open() as stream:
        assert not [column for column in next(csv.reader(stream)) if "curriculum" in column]


@pytest.mark.slow
@pytest.mark.parametrize("vmapped", [False, True])
def test_the_curriculum_compiles_the_training_once(run, flags, vmapped):
    config, _ = load_config(["--quick-test", *flags])
    market = prepare_market(config)
    plans = [phases.plan_specialist(config, market, index) for index in range(4)]
    curriculum, compiler = Curriculum.begin(STAGES), Compiler()
    runner = runner_of(compiler, plans, [curriculum] * 4, vmapped=vmapped)
    runner.prepare()
    programs = dict(compiler._compiled)
    for fraction in (0.1, 0.4, 0.6):
        curriculum = curriculum.after(fraction)
        runner.follow([curriculum] * 4)
        runner.run(1)  # of an executable, which cannot compile again and refuses other shapes
    assert curriculum.num_open == len(STAGES) and compiler._compiled == programs
    num_paths = market.table.open.shape[0]
    params = plans[0].env_params.replace(path_probability=jnp.asarray(curriculum.path_probability(num_paths)))
    reset = jax.jit(jax.vmap(plans[0].program.env.reset, in_axes=(0, None)))
    starts = reset(jax.random.split(jax.random.key(0), 40 * num_paths), params)[1].path
    assert set(np.asarray(starts).tolist()) == set(range(num_paths))
