"""The three phases in memory: what they hand on, what they show on the way, and what they refuse."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from mtquant_jax.agents.tilt import with_tilt
from mtquant_jax.market.prepare import prepare_market, resplit
from mtquant_jax.runs.trading_policy import load_policy
from mtquant_jax.runs.trained_run import open_run, restore_all
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.layers import load_config, override_config
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.observer import Stopped, TrainingObserver
from mtquant_jax.training.phases import hierarchy_agent, plan_joint, plan_meta, plan_specialist, start_meta
from mtquant_jax.training.runner import runner_of
from mtquant_jax.training.trainer import (
    META_CONTROLLER,
    PORTFOLIO,
    HierarchyPolicies,
    _side_by_side,
    train_hierarchies,
    train_phases,
)
from mtquant_jax.training.validation import Validator
from mtquant_jax.types import Splits
from tests.conftest import same_bits

CLASSES = ("forex", "commodities", "equity")


class Diary(TrainingObserver):
    """Writes down what happens."""

    def __init__(self) -> None:
        self.lines: list[tuple] = []
        self.states: list[dict[str, np.ndarray]] = []

    def phase_begins(self, phase, members):
        self.lines.append(("begins", phase, tuple((member.seed, member.name) for member in members)))

    def checkpoint(self, member, saved):
        self.lines.append(("checkpoint", member.seed, member.name, saved.logbook.timesteps))
        self.states.append(to_named_arrays(saved.state.params))

    def chunk(self, progress):
        self.lines.append(("chunk", progress.member.seed, progress.member.name, progress.timesteps))
        assert (progress.validation is not None) == (progress.timesteps % 500 == 0)
        assert progress.total_timesteps == (1000 if progress.member.phase == 1 else 500)
        assert progress.curriculum is None

    def trained(self, member, outcome):
        self.lines.append(("trained", member.seed, member.name, outcome.timesteps))

    def phase_ends(self, phase):
        self.lines.append(("ends", phase))


@pytest.fixture(scope="module")
def quick():
    """The settings and the market of a quick run."""
    config, _ = load_config(["--quick-test"])
    return config, prepare_market(config)


@pytest.fixture(scope="module")
def watched(quick):
    """A training of all phases, and what it showed."""
    diary = Diary()
    (trained,) = train_phases(*quick, observer=diary)
    return trained, diary


def test_it_is_the_training_of_a_run_bit_for_bit(watched, quick, synthetic_run):
    trained, _ = watched
    on_disk = restore_all(open_run(synthetic_run), quick[1])
    pairs = [*zip(trained.policies.specialists, on_disk.specialists, strict=True)]
    pairs += [(trained.policies.meta, on_disk.meta), (trained.policies.portfolio, on_disk.portfolio)]
    assert all(same_bits(one, other) for one, other in pairs)
    specialists, meta = trained.policies.agents
    assert len(specialists) == 3 and meta is not None
    assert same_bits(trained.policies.portfolio, load_policy(synthetic_run).policy)


def test_an_observer_sees_every_phase_chunk_and_checkpoint_in_order(watched):
    trained, diary = watched
    expected = [("begins", 1, tuple((0, name) for name in CLASSES))]
    for timesteps in (250, 500, 750, 1000):
        expected += [("chunk", 0, name, timesteps) for name in CLASSES]
        expected += [("checkpoint", 0, name, timesteps) for name in CLASSES if timesteps % 500 == 0]
    expected += [("trained", 0, name, 1000) for name in CLASSES]
    expected += [("ends", 1)]
    for phase, name in ((2, META_CONTROLLER), (3, PORTFOLIO)):
        expected += [("begins", phase, ((0, name),)), ("checkpoint", 0, name, 0), ("chunk", 0, name, 250)]
        expected += [("chunk", 0, name, 500), ("checkpoint", 0, name, 500), ("trained", 0, name, 500), ("ends", phase)]
    assert diary.lines == expected
    assert [*trained.outcomes] == [1, 2, 3] and [*trained.outcomes[1]] == [*CLASSES]
    for phase, outcomes in trained.outcomes.items():
        for outcome in outcomes.values():
            history = dict(outcome.history)
            if phase == 3 and outcome.best_timesteps == outcome.timesteps:  # a mean, which no checkpoint has
                assert outcome.averaged is not None and outcome.validation not in history.values()
            else:
                assert outcome.averaged is None and outcome.validation == history[outcome.best_timesteps]
            parts = [outcome.seconds[part] for part in ("compile", "run", "validate")]
            assert min(parts) >= 0.0 and sum(parts) <= outcome.seconds["total"]


def test_a_phase_goes_on_from_what_earlier_ones_hand_on(watched, quick):
    trained, _ = watched
    start = dataclasses.replace(trained.policies, portfolio=None)
    (again,) = train_phases(*quick, phases=(3,), start=start)
    assert same_bits(again.policies.portfolio, trained.policies.portfolio)
    assert again.policies.specialists is start.specialists and [*again.outcomes] == [3]
    # What is trained is a copy: the policies it starts from are still there.
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(start))


def test_a_portfolio_that_never_holds_anything_learns_nothing(watched, quick):
    """No specialist has a tilt and the anchor is flat; over another anchor there is capital to divide."""
    config, market = quick
    flat = tuple(with_tilt(specialist, 0.0) for specialist in watched[0].policies.specialists)
    diary = Diary()
    (trained,) = train_phases(config, market, phases=(2, 3), start=HierarchyPolicies(flat), observer=diary)
    for phase, name in ((2, META_CONTROLLER), (3, PORTFOLIO)):
        outcome = trained.outcomes[phase][name]
        assert (outcome.timesteps, outcome.best_timesteps, outcome.chunk_rates) == (0, 0, [])
        assert outcome.evidence.policies == 1 and outcome.validation.sharpe is None
    assert not [line for line in diary.lines if line[0] == "chunk"]
    diary.stops = lambda: True
    with pytest.raises(Stopped):
        train_phases(config, market, phases=(2,), start=HierarchyPolicies(flat), observer=diary)
    assert same_bits(trained.policies.meta, start_meta(config, market))
    assert same_bits(trained.policies.agents[0], flat)
    assert plan_meta(config, market, flat).total_updates == 0
    one_tilts = (watched[0].policies.specialists[0], *flat[1:])
    assert plan_meta(config, market, one_tilts).total_updates > 0
    anchored = dataclasses.replace(config, anchor="inverse_volatility")
    assert plan_meta(anchored, market, flat).total_updates > 0
    assert plan_joint(anchored, market, flat, trained.policies.meta).total_updates > 0


def test_members_of_other_programs_and_with_nothing_to_learn_are_apart():
    plans = [SimpleNamespace(program=name, total_updates=updates) for name, updates in (("a", 8), ("a", 0), ("b", 8))]
    members = [SimpleNamespace(plan=plan) for plan in (*plans, *plans[:1])]
    assert _side_by_side(members) == [[members[0], members[3]], [members[1]], [members[2]]]


def test_classes_of_other_batch_sizes_take_turns_and_are_handed_on_in_their_order(quick, watched):
    config, market = quick
    other = with_values(config, {"specialists.commodities.batch_size": 50}, "")
    diary = Diary()
    (trained,) = train_phases(other, market, phases=(1,), observer=diary)
    assert [line[2] for line in diary.lines if line[0] == "trained"] == ["forex", "equity", "commodities"]
    assert [*trained.outcomes[1]] == [*CLASSES]
    same = [
        same_bits(*pair) for pair in zip(trained.policies.specialists, watched[0].policies.specialists, strict=True)
    ]
    assert same == [True, False, True]


@pytest.mark.slow
def test_seeds_side_by_side_are_the_trainings_of_each_seed(watched, quick):
    trained, _ = watched
    one, other = train_phases(*quick, seeds=(0, 7), phases=(1,))
    assert (one.seed, other.seed) == (0, 7)
    for alone, together, another in zip(
        trained.policies.specialists, one.policies.specialists, other.policies.specialists, strict=True
    ):
        assert same_bits(alone, together) and not same_bits(alone, another)


def test_settings_side_by_side_are_the_trainings_of_each_setting(watched, quick):
    config, market = quick
    other = with_values(config, {"ppo.gamma": 0.9, "reward.risk_aversion": 3.0, "simulation.cost_multiplier": 2.0}, "")
    usual, changed = train_hierarchies([config, other], market, phases=(1,), classes=["commodities"])
    assert [*usual.outcomes[1]] == ["commodities"]
    assert same_bits(usual.policies.specialists[0], watched[0].policies.specialists[1])
    (alone,) = train_hierarchies([other], market, phases=(1,), classes=["commodities"])
    assert same_bits(changed.policies.specialists[0], alone.policies.specialists[0])
    assert not same_bits(changed.policies.specialists[0], usual.policies.specialists[0])
    assert changed.outcomes[1]["commodities"].history == alone.outcomes[1]["commodities"].history


@pytest.mark.slow
def test_classes_folds_seeds_trials_and_other_bars_share_their_programs(quick):
    config, market = dataclasses.replace(quick[0], evidence_folds=2), quick[1]
    compiler = Compiler()
    compiler._compiled = {}  # not those of the session
    train_phases(config, market, seeds=(0, 1), compiler=compiler)
    names = Counter(function.__name__ for function, *_ in compiler._compiled)
    # Of each phase the start and the chunk; and a validation of specialists, and one of portfolios.
    assert names == {"start_training": 3, "_chunk": 3, "trade_through": 2}
    # A trial of a sweep, and a fold of a walk-forward, which has as many bars elsewhere.
    (first, last), validation, test = dataclasses.astuple(market.splits)
    later = resplit(market, config, Splits((first + 50, last + 20), validation, test))
    trial = with_values(config, {"ppo.gamma": 0.9, "reward.risk_aversion": 3.0, "seed": 7}, "")
    train_phases(trial, later, compiler=compiler)
    assert Counter(function.__name__ for function, *_ in compiler._compiled) == names


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "pathwise_ppo"])  # the latter is both learners
def test_one_vmapped_program_trains_as_lanes_do(quick, algorithm):
    config, market = dataclasses.replace(quick[0], algorithm=algorithm), quick[1]
    # Costs would differ in each member's market, whose bars are one array in all.
    others = [with_values(config, {"simulation.cost_multiplier": cost, "seed": cost}, "") for cost in (1, 2, 3)]
    shared = class_params(config, market, 0)
    plans = [plan_specialist(other, market, 0, class_params(other, market, 0, like=shared)) for other in others]
    results = []
    for vmapped in (False, True):
        runner = runner_of(Compiler(), plans, [], vmapped=vmapped)
        runner.prepare()
        metrics = runner.run(1 if algorithm == "ppo" else 3)  # two updates of the first, one of the second
        results.append(([state.params for state in runner.states()], metrics))
    for alone, together in zip(*results, strict=True):
        left, right = (to_named_arrays(part) for part in (alone, together))
        for name in left:
            # Sums in another order: float32 rounding, amplified by an update of Adam.
            np.testing.assert_allclose(left[name], right[name], rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_all_phases_learn_by_the_gradient_through_the_account():
    settings = {"quick_test": True, "algorithm": "pathwise", "curriculum": True, "parallel": True}
    config = override_config(None, settings | {"market.num_bars": 2500})
    (trained,) = train_phases(config, prepare_market(config), compiler=Compiler())
    assert [*trained.outcomes] == [1, 2, 3]
    for phase, found in trained.outcomes.items():
        for outcome in found.values():
            assert outcome.timesteps >= config.timesteps(phase)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outcome.last_policy.params))
    agents = trained.outcomes[3][PORTFOLIO].training_metrics
    assert {"gradient_cosine", "own_gradient_norm"} <= {*agents["forex"]} and "action_std" not in agents["forex"]


def test_trainings_side_by_side_differ_in_traced_settings_alone(quick):
    config, market = quick
    other = with_values(config, {"ppo.hidden_size": 32, "ppo.gamma": 0.9, "seed": 3}, "")
    with pytest.raises(ValueError, match=r"ppo\.hidden_size must be the same in trainings side by side"):
        train_hierarchies([config, other], market)
    with pytest.raises(ValueError, match="with phase 1 alone"):
        train_hierarchies([config], market, classes=["forex"])
    with pytest.raises(ValueError, match="give some of forex, commodities, equity"):
        train_hierarchies([config], market, phases=(1,), classes=["crypto"])


def test_half_precision_is_of_trainings_and_not_of_what_they_are_judged_by(watched, quick):
    config, market = quick
    halved = dataclasses.replace(config, ppo=dataclasses.replace(config.ppo, precision="bfloat16"))
    specialists = watched[0].policies.specialists
    plans = [plan_specialist(halved, market, 0), plan_meta(halved, market, specialists)]
    plans.append(plan_joint(halved, market, specialists, watched[0].policies.meta))
    assert all(plan.program.agent.network.half for plan in plans[:2])
    assert not plans[1].program.env.act.network.half  # the frozen specialists
    assert plans[2].program.agent.specialist.half and plans[2].program.agent.meta.half
    judge = hierarchy_agent(halved, market)
    assert not judge.specialist.half and not judge.meta.half
    judged_by = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "_traded", lambda _, env, agent, *others: judged_by.append(agent))
        Validator(halved, market, Compiler()).specialist(plans[0], ("EURUSD",), specialists[0])
    assert [agent.network.half for agent in judged_by] == [False]
    (trained,) = train_hierarchies([halved], market, phases=(1,), classes=("forex",), validate=False)
    found, exact = trained.policies.specialists[0].params, specialists[0].params
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    assert not same_bits(found, exact)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=0.1), found, exact)


def test_without_validation_the_last_policy_is_handed_on(quick):
    config, market = quick
    diary = Diary()
    diary.chunk = lambda progress: None
    (trained,) = train_phases(config, market, phases=(1,), validate=False, observer=diary)
    outcome = trained.outcomes[1]["forex"]
    assert outcome.history == [] and outcome.best_timesteps == 1000
    assert same_bits(outcome.policy, outcome.last_policy)
    last = to_named_arrays(trained.policies.specialists[0].params)
    assert all(np.array_equal(last[name], diary.states[3][name]) for name in last)
    with pytest.raises(ValueError, match="validated nothing"):
        _ = outcome.validation


def test_phases_without_their_earlier_ones_are_refused(quick, watched):
    with pytest.raises(ValueError, match="phase 2 needs the specialists of phase 1"):
        train_phases(*quick, phases=(2,))
    specialists = watched[0].policies.specialists
    with pytest.raises(ValueError, match="phase 3 needs the policies of phases 1 and 2"):
        train_phases(*quick, phases=(3,), start=HierarchyPolicies(specialists))
    with pytest.raises(ValueError, match="seeds 3, 3: each may be given once"):
        train_phases(*quick, seeds=(3, 3))
