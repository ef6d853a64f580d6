"""What is handed on, and how large: trainings without a part of the bars, and the evidence that comes of them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtquant_jax as mt
from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.tilt import tilts
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import override_config
from mtquant_jax.simulation.market_env import random_start
from mtquant_jax.simulation.market_params import bars_between
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.folds import fold_starts, mean_of, train_without
from mtquant_jax.training.loop import Schedule, _Training
from mtquant_jax.training.observer import Member, Stopped, TrainingObserver
from mtquant_jax.training.outcome import Candidate
from mtquant_jax.training.trainer import train_phases
from tests.conftest import make_params, make_table, same_bits

CONFIG = mt.load_config(quick_test=True, tilt="evidence", evidence_folds=2, phases="1", phase1_timesteps=500)


@pytest.fixture(scope="module")
def market():
    return prepare_market(CONFIG)


def starts_of(params, count=4000) -> set[int]:
    keys = jax.random.split(jax.random.key(0), count)
    _, bars = jax.jit(jax.vmap(random_start, in_axes=(0, None)))(keys, params)
    return set(np.asarray(bars).tolist())


@pytest.mark.parametrize(
    ("hole", "expected"),
    [
        ((0, 0), {*range(10, 60)}),
        ((30, 40), {*range(10, 21), *range(40, 60)}),  # the last episode of 10 bars before it ends at bar 30
        ((5, 15), {*range(15, 60)}),
        ((12, 20), {*range(20, 60)}),  # no episode fits before it
        ((55, 90), {*range(10, 46)}),
        ((69, 70), {*range(10, 60)}),
    ],
)
def test_no_episode_touches_the_hole_and_all_others_are_drawn(hole, expected):
    params = make_params(make_table(np.ones((100, 1)), np.ones((100, 1))), span=(10, 70), episode_length=10)
    assert starts_of(params.replace(hole=bars_between(*hole))) == expected


def test_without_a_hole_the_same_numbers_draw_the_same_bars():
    params = make_params(make_table(np.ones((100, 1)), np.ones((100, 1))), span=(10, 70), episode_length=10)
    key = jax.random.key(7)
    _, bar = random_start(key, params)
    _, bar_key = jax.random.split(key)
    assert int(bar) == int(jax.random.randint(bar_key, (), 10, 60))


def splits(train, validation):
    return SimpleNamespace(splits=SimpleNamespace(train=train, validation=validation))


def test_folds_are_as_long_as_the_validation_split_and_lie_apart():
    config = override_config(None, {"market": {"gap_bars": 250}, "simulation": {"episode_length": 100}})
    assert fold_starts(config, splits((250, 4250), (4500, 5400)), 4) == [250, 1283, 2317, 3350]
    assert fold_starts(config, splits((250, 4250), (4500, 5400)), 1) == [3350]
    assert fold_starts(config, splits((250, 4250), (4500, 6500)), 4) == []  # too little would be left
    assert fold_starts(config, splits((0, 4200), (4500, 5700)), 9) == [0, 1500, 3000]  # no more than lie apart
    assert fold_starts(config, splits((250, 1250), (1500, 1700)), 4) == [250, 1050]  # too little without the others


@pytest.mark.slow
def test_a_training_without_bars_never_sees_them(market):
    plan = phases.plan_specialist(CONFIG, market, 0)
    member = Member(1, 0, 0, "forex", plan, validate=None)
    starts = fold_starts(CONFIG, market, 2)
    length = market.splits.validation[1] - market.splits.validation[0]
    poisoned = []
    for start in starts:
        # Prices of the part become numbers that would leave a trace in any training that met them.
        where = np.zeros(plan.env_params.table.close.shape[1], bool)
        where[start : start + length] = True
        table = plan.env_params.table
        bad = table.replace(features=jnp.where(where[None, :, None, None], jnp.nan, table.features))
        poisoned.append(dataclasses.replace(plan, env_params=plan.env_params.replace(table=bad)))
    schedule, compiler = Schedule(500), Compiler()
    for start, plan_with in zip(starts, poisoned, strict=True):
        one = dataclasses.replace(member, plan=plan_with)
        ((found,),) = train_without([one], [start], CONFIG, market, schedule, compiler, TrainingObserver())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found.params, found.normalizers)))


@pytest.mark.slow
def test_it_stops_when_the_training_that_it_belongs_to_does(market):
    class Stopping(TrainingObserver):
        def stops(self):
            return True

    member = Member(1, 0, 0, "forex", phases.plan_specialist(CONFIG, market, 0), validate=None)
    with pytest.raises(Stopped):
        train_without([member], [300], CONFIG, market, Schedule(500), Compiler(), Stopping())


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_a_market_without_an_edge_hands_on_the_anchor(parallel):
    config = dataclasses.replace(
        CONFIG, parallel=parallel, phases="1,2,3", market=dataclasses.replace(CONFIG.market, edge=0.0)
    )
    told, shares = [], []

    class Watching(TrainingObserver):
        def trains_without(self, members, folds):
            told.append(([member.name for member in members], folds))
            shares.append([])

        def trained_without(self, share):
            shares[-1].append(share)

    (trained,) = train_phases(config, prepare_market(config), observer=Watching())
    names = ["forex", "commodities", "equity"]
    assert told == ([(names, 2)] if parallel else [([name], 2) for name in names])
    assert all(found == sorted(found) and found[-1] == 1.0 and len(found) > 2 for found in shares)
    for outcome in trained.outcomes[1].values():
        assert outcome.evidence.tilt == 0.0 and outcome.evidence.folds == 2
        assert outcome.evidence.ahead.ratio < 1.9
        assert not tilts(outcome.policy) and tilts(outcome.last_policy)
        assert outcome.validation.sharpe is None and outcome.validation.mean_exposure == 0.0
        assert outcome.evidence.out_of_fold.days == outcome.evidence.train.days > outcome.evidence.validation.days
    portfolio = trained.outcomes[3]["portfolio"]
    assert portfolio.validation.mean_exposure == 0.0 and not np.any(tilts(portfolio.policy))


@pytest.mark.slow
def test_the_whole_tilt_is_handed_on_where_that_is_asked_for(market):
    config = dataclasses.replace(CONFIG, tilt="whole", evidence_folds=0)
    (trained,) = train_phases(config, market)
    for outcome in trained.outcomes[1].values():
        assert outcome.evidence.tilt == 1.0 and outcome.evidence.folds == 0 and outcome.evidence.out_of_fold is None
        assert tilts(outcome.policy) and outcome.validation.mean_exposure > 0.0


def test_the_mean_of_policies_is_that_of_their_weights_and_statistics():
    def policy(weight, mean):
        return Policy({"specialist": {"kernel": jnp.full((2, 3), weight)}}, {"specialist": jnp.float32(mean)})

    found = mean_of([policy(1.0, 0.0), policy(2.0, 0.5), policy(6.0, 1.0)])
    assert same_bits(found, policy(3.0, 0.5))


@pytest.mark.slow
def test_a_last_policy_is_handed_on_as_the_mean_of_it_and_of_its_folds(market):
    """The evidence is of each of them, and of the mean on the validation split."""
    without = []

    def kept(*arguments):
        without.extend(train_without(*arguments))
        return without[-3:]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtquant_jax.training.trainer.train_without", kept)
        config = dataclasses.replace(CONFIG, tilt="whole", parallel=True)
        (trained,) = train_phases(config, market)
    averaged = 0
    for outcome, folds in zip(trained.outcomes[1].values(), without, strict=True):
        if outcome.best_timesteps < outcome.timesteps:
            assert outcome.averaged is None and outcome.evidence.policies == 1
            continue
        averaged += 1
        assert outcome.evidence.policies == 3
        assert same_bits(outcome.averaged, mean_of([outcome.last_policy, *folds]))
        assert same_bits(outcome.policy, outcome.averaged) and not same_bits(outcome.policy, outcome.last_policy)
    assert averaged


@pytest.mark.slow
def test_phase_3_hands_on_the_mean_of_where_it_began_and_ended(market):
    """Its starting point is good already; half of the way from it is less noise and as much of what was learnt."""
    config = dataclasses.replace(CONFIG, tilt="whole", evidence_folds=0, phases="1,2,3")
    (trained,) = train_phases(config, market)
    outcome, policies = trained.outcomes[3]["portfolio"], trained.policies
    start = phases.hierarchy(phases.stacked_specialists(policies.specialists), policies.meta)
    assert outcome.best_timesteps == outcome.timesteps and outcome.evidence.policies == 2
    assert same_bits(outcome.policy, mean_of([outcome.last_policy, start]))
    assert same_bits(policies.portfolio, outcome.policy) and not same_bits(outcome.policy, outcome.last_policy)


@pytest.mark.parametrize(
    ("ahead_of_last", "handed_on"),
    [(np.full((50, 2), -0.01), 1000), (np.zeros((50, 2)), 1000), (None, 500)],
)
def test_the_last_policy_is_handed_on_unless_another_is_ahead_by_more_than_chance(ahead_of_last, handed_on):
    generator = np.random.default_rng(0)
    noise = generator.normal(0.0, 0.001, size=(50, 2))
    ahead = generator.normal(0.002, 0.001, size=(50, 2)) if ahead_of_last is None else ahead_of_last
    best, last = Policy({"of": "best"}, {}), Policy({"of": "last"}, {})

    def validate(policy: Policy) -> SimpleNamespace:
        return SimpleNamespace(returns=noise + (ahead if policy is best else 0.0))

    training = SimpleNamespace(
        _candidates=[Candidate(best, 500, 9.0)],
        _members=[SimpleNamespace(validate=validate, phase=1)],
        _ahead=lambda *arguments: _Training._ahead(None, *arguments),
        _history=[[(250, None), (500, None), (750, None), (1000, None)]],
        _validating=0.0,
    )
    assert _Training._handed_on(training, 0, Candidate(last, 1000, 1.0)).timesteps == handed_on


@pytest.mark.parametrize(("phase", "tilting", "ahead", "handed_on"), [
    (2, False, 0.0, 0),
    (2, False, 0.002, 1000),
    (2, True, 0.0, 1000),
    (1, False, 0.0, 1000),
])  # fmt: skip
def test_over_specialists_without_a_tilt_the_start_is_handed_on_unless_the_last_policy_is_ahead(
    phase, tilting, ahead, handed_on, monkeypatch
):
    monkeypatch.setattr("mtquant_jax.training.loop.tilting", lambda plan: tilting)
    generator = np.random.default_rng(0)
    noise, more = generator.normal(0.0, 0.001, size=(2, 50, 2))
    start, last = Policy({"of": "start"}, {}), Policy({"of": "last"}, {})

    def validate(policy: Policy) -> SimpleNamespace:
        return SimpleNamespace(returns=noise if policy is start else noise + ahead + more)

    best = Candidate(last, 1000, 1.0)
    training = SimpleNamespace(
        _candidates=[best],
        _members=[SimpleNamespace(validate=validate, phase=phase, plan=SimpleNamespace(start=start))],
        _history=[[(0, SimpleNamespace(sharpe=0.5)), (1000, None)]],
        _ahead=lambda *arguments: _Training._ahead(None, *arguments),
        _validating=0.0,
    )
    assert _Training._handed_on(training, 0, best).timesteps == handed_on
