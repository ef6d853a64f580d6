"""What each phase is: its environment, agent, learner, hyper-parameters and starting point, as a plan to be run."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import (
    META,
    SPECIALIST,
    SPECIALISTS,
    FrozenSpecialists,
    HierarchyAgent,
    MetaAgent,
    SpecialistAgent,
    stack,
)
from mtquant_jax.agents.networks import NETWORKS, MetaNetwork, SpecialistNetwork, initialise
from mtquant_jax.agents.normalizer import start_normalizer
from mtquant_jax.agents.tilt import tilts
from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.allocation_env import AllocationEnv
from mtquant_jax.simulation.market_env import MarketParams
from mtquant_jax.simulation.market_params import class_params, integer, portfolio_params, scalar
from mtquant_jax.simulation.portfolio_env import PortfolioEnv
from mtquant_jax.simulation.portfolio_inputs import PortfolioInputs
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from mtquant_jax.simulation.trade_scale import trade_scales
from mtquant_jax.training.learners import LEARNERS, Assignment
from mtquant_jax.training.placement import layout_of

# gymnax compiles per instance, so equal environments must be the same object. Rewards are names of objectives.
specialist_env = functools.cache(lambda reward: SpecialistEnv(REWARDS[reward]))
portfolio_env = functools.cache(lambda reward, class_reward: PortfolioEnv(REWARDS[reward], REWARDS[class_reward]))
allocation_env = functools.cache(lambda reward, act, interval: AllocationEnv(REWARDS[reward], act, interval))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training of one agent or hierarchy."""

    program: Program
    env_params: Any
    hyper: Any  # of the program's learner, see `training.learners`
    start: Policy
    reference: Any  # {group: parameters} of policies on a leash
    total_updates: int  # 0 where there is nothing to learn
    key: jax.Array
    agents: tuple[str, ...]  # names of the A agents, for metrics

    @property
    def start_arguments(self) -> tuple[Any, ...]:
        """What `start_training` takes after the program."""
        return self.start.params, self.start.normalizers, self.reference, self.env_params, self.key


def specialist_network(config: TrainConfig, market: Market, trains: bool = False) -> SpecialistNetwork:
    """The network that all specialists share the shape of; one that trains is of ``ppo.precision``."""
    network = NETWORKS[config.ppo.network].specialist
    sizes = market.universe.width, config.ppo.hidden_size, config.ppo.initial_log_std
    return network(*sizes, half=trains and _half(config))


def meta_network(config: TrainConfig, market: Market, trains: bool = False) -> MetaNetwork:
    """The meta-controller's network."""
    network = NETWORKS[config.ppo.network].meta
    sizes = market.universe.num_classes, config.ppo.hidden_size, config.ppo.initial_log_std
    return network(*sizes, half=trains and _half(config))


def specialist_agent(config: TrainConfig, market: Market, trains: bool = False) -> SpecialistAgent:
    """The agent of phase 1, and of every evaluation of a specialist alone."""
    return SpecialistAgent(specialist_network(config, market, trains))


def hierarchy_agent(config: TrainConfig, market: Market, trains: bool = False) -> HierarchyAgent:
    """The agent of phase 3, and of every evaluation of a portfolio."""
    return HierarchyAgent(
        specialist_network(config, market, trains),
        meta_network(config, market, trains),
        market.universe.slots,
        market.universe.num_classes,
    )


def hierarchy_env(config: TrainConfig) -> PortfolioEnv:
    """The environment of phase 3, and of every evaluation of a portfolio."""
    return portfolio_env(config.portfolio_reward.objective, config.reward.objective)


def rollout_of(config: TrainConfig, phase: int) -> tuple[int, int]:
    """Environments and steps of a rollout of a phase."""
    return LEARNERS[config.algorithm_of(phase)].rollout(config)


def updates_for(config: TrainConfig, phase: int) -> int:
    """Updates that give at least the decisions that a phase is asked for; a rollout is never cut."""
    return math.ceil(config.timesteps(phase) / math.prod(rollout_of(config, phase)))


def holds_anything(config: TrainConfig, specialists: Policy) -> bool:
    """Whether a portfolio of stacked specialists ever holds anything: not where none has a tilt over a flat anchor."""
    return config.anchor != "flat" or bool(np.any(tilts(specialists)))


def start_specialist(config: TrainConfig, market: Market, index: int) -> Policy:
    """An untrained specialist."""
    env, agent = specialist_env(config.reward.objective), specialist_agent(config, market)
    example = _example_inputs(env, agent, jax.eval_shape(lambda: class_params(config, market, index)))
    params = initialise(agent.network, example, _seed(config, 1, index))
    params["log_trade_scale"] = scalar(np.log(trade_scale(config, market, index)))
    return Policy({SPECIALIST: params}, {SPECIALIST: start_normalizer(example)})


def trade_scale(config: TrainConfig, market: Market, index: int) -> np.ndarray:
    """The changes of relative weight ``[C]`` that an action of 1 asks for, by what trading costs in this market."""
    simulation, settings = config.simulation, list(config.specialists.values())[index]
    return trade_scales(
        cost=simulation.cost_multiplier * market.costs[index],
        impact=simulation.cost_multiplier * simulation.impact,
        volatility=market.volatility[index],
        full_weight=simulation.leverage * market.universe.share[index],
        exploration_cost=settings.exploration_cost,
    )


def start_meta(config: TrainConfig, market: Market) -> Policy:
    """An untrained meta-controller: the anchor's capital, an equal share of cash, half the risk appetite.

    A flat anchor and that of inverse volatility have about equal risk in each class, the others equal weights in all
    instruments.
    """
    agent = MetaAgent(meta_network(config, market), market.universe.slots)
    env = hierarchy_env(config)
    example = _example_inputs(env, agent, jax.eval_shape(lambda: portfolio_params(config, market)))
    params = initialise(agent.network, example, _seed(config, 2, 0))
    params["class_bias"] = neutral_capital(config, market)
    return Policy({META: params}, {META: start_normalizer(jax.eval_shape(PortfolioInputs.flat, example))})


def neutral_capital(config: TrainConfig, market: Market) -> jax.Array:
    """Logits ``[S]`` of the capital that an untrained meta-controller gives the classes.

    It is in proportion to their instruments, or to 1 / volatility of the class as seen in the training split.
    """
    equally = config.anchor in ("equal_weight", "buy_and_hold")
    capital = np.sum(market.universe.mask, axis=-1) if equally else market.class_scale
    return scalar(np.log(capital / np.mean(capital)))


def plan_specialist(config: TrainConfig, market: Market, index: int, env_params: MarketParams | None = None) -> Plan:
    """Phase 1 for one class, on the class's own profit.

    ``env_params`` are its `class_params`, where several plans share arrays of them.
    """
    settings = list(config.specialists.values())[index]
    kind, (num_envs, num_steps) = LEARNERS[config.algorithm_of(1)], rollout_of(config, 1)
    total_updates, name = updates_for(config, 1), market.universe.classes[index].name
    program = Program(
        env=specialist_env(config.reward.objective),
        agent=specialist_agent(config, market, trains=True),
        objectives=(Objective(streams=(0,), policy=(1.0,), value=(1.0,)),),
        num_envs=num_envs,
        num_steps=num_steps,
        learner=kind.make(config, settings.batch_size),
        layout=layout_of(config),
    )
    return Plan(
        program=program,
        env_params=class_params(config, market, index) if env_params is None else env_params,
        hyper=kind.hyper(config, Assignment(1, (SPECIALIST,), total_updates, class_name=name)),
        start=start_specialist(config, market, index),
        reference={},
        total_updates=total_updates,
        key=_key(config, 1, index),
        agents=(name,),
    )


def plan_meta(config: TrainConfig, market: Market, specialists: Sequence[Policy]) -> Plan:
    """Phase 2: on the portfolio's profit, over frozen specialists, decision by decision.

    There are no updates where the portfolio never holds a position, whatever capital it is given.
    """
    frozen = stacked_specialists(specialists)
    interval = config.meta_controller.interval
    kind, (num_envs, num_steps) = LEARNERS[config.algorithm_of(2)], rollout_of(config, 2)
    total_updates = updates_for(config, 2)
    act = FrozenSpecialists(specialist_network(config, market))
    program = Program(
        env=allocation_env(config.portfolio_reward.objective, act, interval),
        agent=MetaAgent(meta_network(config, market, trains=True), market.universe.slots),
        objectives=(Objective(streams=(0,), policy=(1.0,), value=(1.0,)),),
        num_envs=num_envs,
        num_steps=num_steps,
        learner=kind.make(config, config.meta_controller.batch_size),
        layout=layout_of(config),
    )
    acting = (frozen.params[SPECIALISTS], frozen.normalizers[SPECIALISTS])
    env_params = portfolio_params(config, market, specialists=acting)
    if not kind.discounts:
        env_params = dataclasses.replace(env_params, discount=scalar(1.0))
    # Episodes end between decisions: a shortened last one would be discounted like a whole one.
    episode_length = math.ceil(config.simulation.episode_length / interval) * interval
    return Plan(
        program=program,
        env_params=dataclasses.replace(env_params, max_steps_in_episode=integer(episode_length)),
        hyper=kind.hyper(config, Assignment(2, (META,), total_updates, interval=interval)),
        start=start_meta(config, market),
        reference={},
        total_updates=total_updates if holds_anything(config, frozen) else 0,
        key=_key(config, 2, 0),
        agents=("meta_controller",),
    )


def plan_joint(config: TrainConfig, market: Market, specialists: Sequence[Policy], meta: Policy) -> Plan:
    """Phase 3: all agents bar by bar; specialists follow their own and the portfolio's profit, coordinated.

    There are no updates where the portfolio never holds a position.
    """
    joint, num_classes = config.joint_training, market.universe.num_classes
    start = hierarchy(stacked_specialists(specialists), meta)
    kind, (num_envs, num_steps) = LEARNERS[config.algorithm_of(3)], rollout_of(config, 3)
    total_updates = updates_for(config, 3)
    own, portfolio = tuple(range(num_classes)), (num_classes,) * num_classes
    only_specialists, only_meta = (1.0,) * num_classes + (0.0,), (0.0,) * num_classes + (1.0,)
    nobody, everybody = (0.0,) * (num_classes + 1), (1.0,) * (num_classes + 1)
    program = Program(
        env=hierarchy_env(config),
        agent=hierarchy_agent(config, market, trains=True),
        objectives=(
            Objective(streams=(*own, num_classes), policy=only_specialists, value=nobody),
            Objective(streams=(*portfolio, num_classes), policy=only_specialists, value=nobody),
            Objective(streams=(*own, num_classes), policy=only_meta, value=everybody, leash=1.0),
        ),
        num_envs=num_envs,
        num_steps=num_steps,
        learner=kind.make(config, joint.batch_size),
        layout=layout_of(config),
        learn_normalizers=False,  # the phase 1 policies on the leash see through the same statistics
        coordinated_group=SPECIALISTS,
    )
    intervals = {SPECIALISTS: joint.specialist_update_interval}
    hyper = kind.hyper(config, Assignment(3, (SPECIALISTS, META), total_updates, update_interval=intervals))
    learns = scalar(tilts(start))  # [S] a class without evidence stays with the anchor
    hyper = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * learns if _is_rate_of(path, SPECIALISTS) else leaf, hyper
    )
    return Plan(
        program=program,
        env_params=portfolio_params(config, market),
        hyper=hyper,
        start=start,
        # A copy: the training donates its state, in which parameters and reference must be buffers of their own.
        reference={SPECIALISTS: jax.tree.map(jnp.copy, start.params[SPECIALISTS])},
        total_updates=total_updates if holds_anything(config, start) else 0,
        key=_key(config, 3, 0),
        agents=(*(c.name for c in market.universe.classes), "meta_controller"),
    )


def stacked_specialists(specialists: Sequence[Policy]) -> Policy:
    """Phase 1 policies -> one with a leading axis over classes."""
    return Policy(
        {SPECIALISTS: stack([s.params[SPECIALIST] for s in specialists])},
        {SPECIALISTS: stack([s.normalizers[SPECIALIST] for s in specialists])},
    )


def specialists_under(plan: Plan) -> Policy:
    """The stacked specialists that the meta-controller of a plan of phase 2 gives capital to."""
    params, normalizers = plan.env_params.specialists
    return Policy({SPECIALISTS: params}, {SPECIALISTS: normalizers})


def tilting(plan: Plan) -> bool:
    """Whether any specialist of a plan of phase 2 or 3 begins it with a tilt."""
    stacked = plan.start if SPECIALISTS in plan.start.params else specialists_under(plan)
    return bool(np.any(tilts(stacked)))


def hierarchy(specialists: Policy, meta: Policy) -> Policy:
    """Stacked specialists and a meta-controller as one policy."""
    return Policy({**specialists.params, **meta.params}, {**specialists.normalizers, **meta.normalizers})


def specialist_of(policy: Policy, index: int) -> Policy:
    """One specialist of a hierarchy, as phase 1 would have it."""

    def pick(leaf: jax.Array) -> jax.Array:
        return leaf[index]

    return Policy(
        {SPECIALIST: jax.tree.map(pick, policy.params[SPECIALISTS])},
        {SPECIALIST: jax.tree.map(pick, policy.normalizers[SPECIALISTS])},
    )


def meta_of(policy: Policy) -> Policy:
    """The meta-controller of a hierarchy."""
    return Policy({META: policy.params[META]}, {META: policy.normalizers[META]})


def equal_allocation(meta: Policy) -> Policy:
    """A meta-controller that always gives every class and cash the same share, at half the risk appetite."""
    params = dict(meta.params[META])
    for name in ("class_head", "class_bias", "policy_head"):
        params[name] = jax.tree.map(lambda leaf: scalar(np.zeros(leaf.shape)), params[name])
    return Policy({META: params}, meta.normalizers)


def _half(config: TrainConfig) -> bool:
    """Whether networks multiply factors of bfloat16 while they are trained."""
    return config.ppo.precision == "bfloat16"


def _is_rate_of(path: tuple[Any, ...], group: str) -> bool:
    """Whether a number of a learner is the learning rate of a group."""
    return jax.tree_util.keystr(path).endswith(f"learning_rate['{group}']")


def _example_inputs(env: Any, agent: Any, params: Any) -> Any:
    """Shapes of one observation's network inputs."""

    def inputs(params: Any) -> Any:
        state = env.initial_state(jnp.zeros((), jnp.int32), params.span.first, params)
        return agent.inputs(env.observe(None, state, None, params), params)

    return jax.eval_shape(inputs, params)


def _key(config: TrainConfig, phase: int, index: int) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), phase), index)


def _seed(config: TrainConfig, phase: int, index: int) -> int:
    return int(np.random.SeedSequence([config.seed, phase, index]).generate_state(1)[0])
