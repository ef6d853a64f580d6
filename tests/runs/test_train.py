"""Whole quick runs: what they leave on disk, how phases hand over, and what they refuse."""

import csv
import json
import shutil
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.cli import train_main
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs.trained_run import open_checkpoint, open_run, restore_all
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.storage.bundles import read_manifest
from mtquant_jax.training import phases
from tests.conftest import SHARED
from tests.events import read_events
from tests.forms import rewrite

CLASSES = {
    "forex": ["EURUSD", "GBPUSD", "USDJPY"],
    "commodities": ["XAUUSD", "WTIUSD"],
    "equity": ["SPX500", "NAS100", "US30"],
}
LOGS = "logs/e2e_training"


def strict_json(path):
    def refuse(name):
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(), parse_constant=refuse)


def bundle_arrays(path):
    with zipfile.ZipFile(path) as archive:
        return {
            n: np.load(archive.open(n), allow_pickle=False) for n in sorted(archive.namelist()) if n.endswith(".npy")
        }


def metrics_rows(run_dir, phase):
    with (run_dir / f"metrics/training/phase{phase}_metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def check_tree(run_dir):
    """Every file of the contract is there and says something sensible."""
    logs = sorted((run_dir / LOGS).glob("e2e_training_????????_??????.log"))
    assert logs
    assert "phase 3 took" in logs[-1].read_text()
    assert list((run_dir / "logs/tensorboard").glob("*/*/events.out.tfevents.*"))
    phase1 = strict_json(run_dir / LOGS / "phase1_results.json")
    assert list(phase1["specialists"]) == list(CLASSES)
    for name, symbols in CLASSES.items():
        report = phase1["specialists"][name]
        assert report["symbols"] == symbols
        assert report["timesteps"] == 1000
        assert {"sharpe", "total_return", "max_drawdown"} <= set(report["validation"])
        assert [entry["timesteps"] for entry in report["history"]] == [500, 1000]
        manifest = read_manifest(run_dir / "models/specialists" / f"{name}_specialist.zip")
        assert manifest["symbols"] == symbols
        for timesteps in (500, 1000):
            for part in ("policy", "training"):
                checkpoint = run_dir / f"models/checkpoints/phase1/checkpoint_{timesteps}" / name / part
                assert any(checkpoint.iterdir())
    assert strict_json(run_dir / LOGS / "phase2_results.json")["meta_controller"]["timesteps"] == 500
    assert strict_json(run_dir / LOGS / "phase3_results.json")["portfolio"]["timesteps"] == 500
    assert read_manifest(run_dir / "models/meta_controller/meta_controller.zip")["classes"] == CLASSES
    for phase in (2, 3):
        assert any((run_dir / f"models/checkpoints/phase{phase}/checkpoint_500/policy").iterdir())
    rows = {p: metrics_rows(run_dir, p) for p in (1, 2, 3)}
    assert [len(rows[p]) for p in (1, 2, 3)] == [12, 2, 2]  # one per chunk; three specialists in phase 1
    assert all(np.isfinite(float(row["reward"])) for row in rows[1])
    terms = {f"reward/{name}" for name in ("objective", "var", "drawdown", "turnover", "diversification")}
    assert [terms <= set(rows[p][0]) for p in (1, 2, 3)] == [False, True, True]
    for row in rows[3]:  # all weights are 0
        assert float(row["reward/objective"]) == pytest.approx(float(row["reward/meta_controller"]), abs=1e-5)
    assert {"gradient_cosine/forex", "gradient_conflict/equity", "reference_kl/forex"} <= set(rows[3][0])


def test_a_synthetic_run_leaves_the_whole_tree(synthetic_run):
    check_tree(synthetic_run)
    summary = strict_json(synthetic_run / LOGS / "training_summary.json")
    assert summary["phases"] == [1, 2, 3]
    assert summary["seed"] == 0
    assert summary["device"].startswith("cpu")
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["configuration"]["phase1_timesteps"] == 1000
    for phase in ("phase1", "phase2", "phase3"):
        seconds = summary["results"][phase]["seconds"]
        assert 0 < seconds["compile"] < seconds["total"]
    for model in summary["models"].values():
        assert (synthetic_run / model).is_file()
    for agent in summary["results"]["phase1"]["specialists"].values():
        assert (synthetic_run / agent["best_checkpoint"]).is_dir()


def shown_at(run_dir, agent, timesteps):
    """What TensorBoard shows of the decisions and the equity of a validation."""
    (folder,) = (run_dir / "logs/tensorboard").glob(f"*/{agent}")
    shown = (("/".join(tag.split("/")[1:]), step, value) for tag, step, value in read_events(folder))
    return {n: v for n, step, v in shown if step == timesteps and (v.HasField("histo") or v.HasField("image"))}


def test_tensorboard_shows_the_decisions_of_a_validation_as_a_backtest_has_them(synthetic_run):
    run = open_run(synthetic_run)
    market = prepare_market(run.config)
    meta = open_checkpoint(run, market, 2, 500).state
    specialists = phases.stacked_specialists(restore_all(run, market).specialists)
    policy = phases.hierarchy(specialists, Policy(meta.params, meta.normalizers))
    first, last = market.splits.validation
    record = backtest(
        phases.hierarchy_env(run.config),
        phases.hierarchy_agent(run.config, market),
        last - first - 1,
        policy.params,
        policy.normalizers,
        evaluation_params(portfolio_params(run.config, market)),
        jnp.asarray(first, jnp.int32),
        detailed=True,
    )
    shown = shown_at(synthetic_run, "phase2_meta_controller", 500)
    symbols = [symbol for symbols in CLASSES.values() for symbol in symbols]
    wanted = np.asarray(record.detail.wanted)[:, :, np.asarray(record.real)]
    capital = np.asarray(record.detail.allocation.capital)
    expected = {f"wanted_weight/{symbol}": wanted[:, :, i] for i, symbol in enumerate(symbols)}
    expected |= {f"capital/{place}": capital[:, :, i] for i, place in enumerate([*CLASSES, "cash"])}
    expected["risk_appetite"] = np.asarray(record.detail.allocation.risk_appetite)
    assert set(shown) == {*expected, "equity"}
    for name, values in expected.items():
        histogram = shown[name].histo
        counts = np.histogram(values, [histogram.min, *histogram.bucket_limit])[0]
        assert histogram.num == values.size == counts.sum()
        # The program that keeps every decision may round one differently, to the other side of a bound.
        assert np.abs(counts - np.asarray(histogram.bucket)).sum() <= 2
        assert histogram.sum == pytest.approx(values.sum(dtype=np.float64), rel=1e-4, abs=1e-2)
    assert (shown["equity"].image.width, shown["equity"].image.height) == (480, 240)


def test_tensorboard_shows_every_specialist_at_every_checkpoint(synthetic_run):
    for name, symbols in CLASSES.items():
        for timesteps in (500, 1000):
            shown = shown_at(synthetic_run, f"phase1_{name}", timesteps)
            assert set(shown) == {*(f"wanted_weight/{symbol}" for symbol in symbols), "equity"}
        assert not shown_at(synthetic_run, f"phase1_{name}", 250)  # between checkpoints nothing is validated


def test_a_run_on_real_bars_leaves_the_whole_tree(train, real_data):
    run_dir = train("--data-dir", str(real_data))
    check_tree(run_dir)
    summary = strict_json(run_dir / LOGS / "training_summary.json")
    assert summary["market"]["paths"] == 1
    assert any("WTIUSD" in notice for notice in summary["market"]["notices"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(train, synthetic_run):
    again, other = train(), train("--seed", "1", "--phases", "1")
    for name in CLASSES:
        path = f"models/specialists/{name}_specialist.zip"
        assert (again / path).read_bytes() == (synthetic_run / path).read_bytes()
        assert (other / path).read_bytes() != (synthetic_run / path).read_bytes()
    path = "models/meta_controller/meta_controller.zip"
    assert (again / path).read_bytes() == (synthetic_run / path).read_bytes()


def test_parallel_and_sequential_specialists_agree(train):
    one_by_one, together = train("--phases", "1", "--no-parallel"), train("--phases", "1")
    for name in CLASSES:
        path = f"models/specialists/{name}_specialist.zip"
        left, right = bundle_arrays(one_by_one / path), bundle_arrays(together / path)
        assert list(left) == list(right)
        for array in left:
            # Sums in another order: float32 rounding, amplified by four updates of Adam.
            np.testing.assert_allclose(left[array], right[array], rtol=2e-3, atol=2e-4)


def test_later_phases_continue_from_the_run_directory(train, synthetic_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(synthetic_run, run_dir)
    before = (run_dir / LOGS / "phase1_results.json").read_bytes()
    train("--phases", "2,3", run_dir=run_dir)
    assert (run_dir / LOGS / "phase1_results.json").read_bytes() == before
    for path in ("models/meta_controller/meta_controller.zip", "models/specialists/forex_specialist.zip"):
        assert (run_dir / path).read_bytes() == (synthetic_run / path).read_bytes()


def test_each_phase_program_is_traced_once(traces_of_updates):
    # Once for the shapes of the metrics and for the loop, and for all three specialists.
    assert traces_of_updates == {"SpecialistEnv": 1, "AllocationEnv": 1, "PortfolioEnv": 1}


def refused(capsys, *flags):
    """The one line that a refused run prints."""
    assert train_main(["--quick-test", *flags]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err.strip()


def test_phase_2_without_phase_1_is_refused(capsys, tmp_path):
    message = refused(capsys, "--phases", "2", "--run-dir", str(tmp_path / "new"))
    assert "phase 2 needs the results of phase 1" in message
    assert not (tmp_path / "new").exists()


def test_phase_3_without_phase_2_is_refused(capsys, synthetic_run, tmp_path):
    (tmp_path / LOGS).mkdir(parents=True)
    shutil.copytree(synthetic_run / "models", tmp_path / "models")
    shutil.copy(synthetic_run / LOGS / "phase1_results.json", tmp_path / LOGS)
    message = refused(capsys, "--phases", "3", "--run-dir", str(tmp_path))
    assert "phase 3 needs the results of phase 2" in message


def test_a_meta_controller_of_other_specialists_is_refused(capsys, synthetic_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(synthetic_run, run_dir)
    rewrite(run_dir / LOGS / "phase1_results.json", lambda content: content.update(run_id="another"))
    message = refused(capsys, "--phases", "3", "--run-dir", str(run_dir))
    assert "other specialists" in message
    assert "--phases 2,3" in message


def test_models_of_other_symbols_are_refused(capsys, synthetic_run, tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text("specialists: {forex: {symbols: [EURUSD, USDJPY], domain: forex, batch_size: 125}}\n")
    before = sorted(p.stat().st_mtime_ns for p in synthetic_run.rglob("*"))
    message = refused(capsys, "--phases", "2", "--run-dir", str(synthetic_run), "--config", str(config))
    assert "was trained on EURUSD, GBPUSD, USDJPY; this configuration asks for EURUSD, USDJPY" in message
    assert sorted(p.stat().st_mtime_ns for p in synthetic_run.rglob("*")) == before


def test_a_phase_that_does_not_fit_is_refused_and_destroys_nothing(capsys, synthetic_run):
    before = sorted((str(p), p.stat().st_mtime_ns) for p in synthetic_run.rglob("*"))
    message = refused(capsys, "--phases", "2,3", "--ppo.hidden-size", "32", "--run-dir", str(synthetic_run))
    assert "does not fit this configuration" in message
    assert sorted((str(p), p.stat().st_mtime_ns) for p in synthetic_run.rglob("*")) == before


def untouched(run_dir):
    return sorted((str(path), path.stat().st_mtime_ns) for path in run_dir.rglob("*"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--market.edge", "0.2"], "was trained on another market: synthetic market (edge 0.12): 8 instruments"),
        (["--seed", "5"], "was trained on another market: synthetic market (edge 0.12): 8 instruments"),
        (["--market.train-fraction", "0.6"], "was trained with other splits: its train split is 2018-"),
        (["--phase1-timesteps", "2000"], "--phase1-timesteps 2000: phase 1 in"),
        (["--simulation.trade-decay", "0.2"], "was trained with --simulation.trade-decay 0.1, and here it is 0.2"),
        (["--no-quick-test"], "was a quick test, and this training is none"),
        (["--overwrite"], "--overwrite would replace the earlier phases that --phases 2,3 continue"),
    ],
)
def test_later_phases_of_another_market_splits_or_budget_are_refused_and_destroy_nothing(
    capsys, synthetic_run, flags, message
):
    before = untouched(synthetic_run)
    assert message in refused(capsys, "--phases", "2,3", "--run-dir", str(synthetic_run), *flags)
    assert untouched(synthetic_run) == before


def test_a_directory_that_holds_a_training_is_refused(capsys, synthetic_run):
    before = untouched(synthetic_run)
    for asked in ("1,2,3", "1"):
        message = refused(capsys, "--phases", asked, "--run-dir", str(synthetic_run))
        assert "holds a training (phases 1, 2, 3); give another --run-dir, such as runs/{time}, or replace" in message
        assert "--overwrite" in message
    assert untouched(synthetic_run) == before


def test_overwriting_leaves_nothing_of_the_training_before_but_the_trials(train, synthetic_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(synthetic_run, run_dir)
    (run_dir / "evaluation").mkdir()
    for name in ("metrics.json", "report.html", "trials.jsonl"):
        (run_dir / "evaluation" / name).write_text("{}")
    (run_dir / "mine.txt").write_text("kept")
    old = strict_json(run_dir / LOGS / "training_summary.json")["run_id"]
    train("--overwrite", "--phases", "1", "--phase1-timesteps", "250", run_dir=run_dir)
    assert old not in "".join(path.read_text() for path in run_dir.rglob("*.json") if path.parent.name != "policy")
    assert sorted(path.name for path in (run_dir / LOGS).glob("*.json")) == [
        "phase1_results.json",
        "run.json",
        "training_summary.json",
    ]
    assert [path.name for path in (run_dir / "evaluation").iterdir()] == ["trials.jsonl"]
    assert not (run_dir / "models/meta_controller/meta_controller.zip").exists()
    assert [path.name for path in (run_dir / "models/checkpoints").iterdir()] == ["phase1"]
    assert len(list((run_dir / "logs/tensorboard").iterdir())) == 1
    assert (run_dir / "mine.txt").read_text() == "kept"
    assert not (run_dir / ".training.lock").exists()


def test_every_file_says_of_which_training_it_is(synthetic_run):
    results = [strict_json(synthetic_run / LOGS / f"phase{phase}_results.json") for phase in (1, 2, 3)]
    identity = results[0]["identity"]
    assert [found["identity"] for found in results] == [identity] * 3
    assert strict_json(synthetic_run / LOGS / "training_summary.json")["identity"] == identity
    for model in synthetic_run.glob("models/*/*.zip"):
        assert read_manifest(model)["identity"] == identity
    checkpoints = [strict_json(path) for path in synthetic_run.glob("models/checkpoints/**/checkpoint.json")]
    assert len(checkpoints) == 2 * 3 + 2 + 2 + 1  # the last is the mean that phase 3 hands on
    assert all((found["run_id"], found["identity"]) == (results[0]["run_id"], identity) for found in checkpoints)


def test_a_training_that_diverges_ends_with_its_setting_and_checkpoint(capsys, tmp_path):
    flags = ["--phases", "1", "--specialists.forex.learning-rate", "1000", "--phase1-timesteps", "250"]
    message = refused(capsys, *flags, "--run-dir", str(tmp_path / "{time}"))
    assert "phase 1: forex of seed 0 diverged in update 1 of 1: " in message
    assert "Most likely at fault is --specialists.forex.learning-rate 1000 (default 0.001): lower it" in message
    assert message.endswith("No checkpoint of it had been saved")
    (run_dir,) = tmp_path.iterdir()
    assert len(run_dir.name) == len("YYYYMMDD_HHMMSS") and metrics_rows(run_dir, 1)[0]["timesteps"] == "250"


def test_a_missing_data_directory_is_refused(capsys, tmp_path):
    message = refused(capsys, "--data-dir", str(tmp_path / "nowhere"), "--run-dir", str(tmp_path / "run"))
    assert "nowhere" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not (SHARED / "h1").is_dir(), reason="no real bars beside this checkout")
def test_too_few_bars_for_an_episode_are_refused(capsys, tmp_path):
    flags = ("--data-dir", str(SHARED / "h1"), "--market.start", "2025-11-15", "--run-dir", str(tmp_path / "run"))
    message = refused(capsys, *flags)
    assert "episode" in message
    assert not (tmp_path / "run").exists()
