"""Standard gymnax environments: their end flags, the agent's actions in them, and that PPO solves them."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from scipy import stats

from mtquant_jax.agents.distributions import Categorical, DiagonalGaussian
from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.learning.rollout import collect
from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.reference.episodes import episode_returns
from mtquant_jax.reference.gymnax_agent import CONTROL, control_agent, start_control, traced_params
from tests.learning import toys

CARTPOLE, PENDULUM = gymnax.make("CartPole-v1")[0], gymnax.make("Pendulum-v1")[0]

rollout = jax.jit(collect, static_argnums=0)


def program(env, num_envs=16, num_steps=64, reward_scale=1.0, **changes) -> Program:
    learner = PPO(**{"num_minibatches": 4, "num_epochs": 10, **changes})
    agent = control_agent(env, traced_params(env), reward_scale=reward_scale)
    objective = Objective(streams=(0,), policy=(1.0,), value=(1.0,))
    return Program(env, agent, (objective,), num_envs, num_steps, learner)


def hyper(total_updates, **changes):
    rates = {"learning_rate": {CONTROL: 1e-3}, "update_interval": {CONTROL: 1.0}}
    return toys.hyper(total_updates, **{**rates, "gae_lambda": 0.95, "max_grad_norm": 0.5, **changes})


def start(prog: Program, seed=0):
    env_params = traced_params(prog.env)
    params, normalizers = start_control(prog.agent, prog.env, env_params, seed)
    return start_training(prog, params, normalizers, {}, env_params, jax.random.key(seed))


def returns_after(prog: Program, updates: int, num_seeds: int, **changes) -> np.ndarray:
    """Mean returns ``[num_seeds]`` over 32 episodes after training."""
    env_params, settings = traced_params(prog.env), hyper(updates, **changes)
    longest = int(env_params.max_steps_in_episode)
    evaluate = jax.jit(lambda p, n: episode_returns(prog, p, n, env_params, jax.random.key(9), 32, longest).mean())
    returns = []
    for seed in range(num_seeds):
        state, _ = train_chunk(prog, start(prog, seed), env_params, settings, jnp.int32(updates))
        returns.append(evaluate(state.params, state.normalizers))
    return np.asarray(returns)


@pytest.mark.slow
def test_cartpole_is_learnt():
    returns = returns_after(program(CARTPOLE), 40, 2, gamma=0.99, anneal_learning_rate=1.0)
    assert returns.mean() > 400.0, returns  # of 500, after 41K timesteps; 280 with the sign of advantages flipped


@pytest.mark.slow
def test_pendulum_is_learnt():
    returns = returns_after(program(PENDULUM, num_steps=128, reward_scale=0.1, num_minibatches=8), 30, 2, gamma=0.9)
    assert returns.mean() > -500.0, returns  # after 61K timesteps; about -150 is the best, -1200 an untrained policy


def test_cartpole_falls_as_termination_and_times_out_as_truncation():
    params = traced_params(CARTPOLE)
    _, state = CARTPOLE.reset(jax.random.key(0), params)
    _, after, _, terminated, truncated, info = CARTPOLE.step(
        jax.random.key(1), state.replace(time=jnp.int32(499)), jnp.int32(1), params
    )
    assert (bool(terminated), bool(truncated), int(after.time)) == (False, True, 0)
    falling = state.replace(theta=jnp.float32(0.2), theta_dot=jnp.float32(3.0), time=jnp.int32(10))
    seen, _, _, terminated, truncated, info = CARTPOLE.step(jax.random.key(1), falling, jnp.int32(0), params)
    assert (bool(terminated), bool(truncated)) == (True, False)
    assert abs(float(info["final_observation"][2])) > float(params.theta_threshold_radians) > abs(float(seen[2]))


def test_pendulum_never_terminates_and_is_truncated_after_200_steps():
    prog = program(PENDULUM, num_envs=8, num_steps=200)
    _, trajectory = rollout(prog, start(prog), traced_params(PENDULUM))
    assert not np.any(trajectory.terminated)
    np.testing.assert_array_equal(np.asarray(trajectory.truncated).sum(0), np.ones(8))  # staggered: each ends once
    ends = np.asarray(trajectory.truncated).argmax(0)
    assert len(np.unique(ends)) > 4
    seen, final = np.asarray(trajectory.observation), np.asarray(trajectory.final_observation)
    for environment, end in enumerate(ends[ends < 199]):
        pair = np.flatnonzero(ends < 199)[environment]
        assert np.any(final[end, pair] != seen[end + 1, pair])  # the observation before the reset, not after it


@pytest.mark.parametrize(
    ("env", "kind", "dtype"), [(CARTPOLE, Categorical, "int32"), (PENDULUM, DiagonalGaussian, "float32")]
)
def test_rollouts_have_one_agent_with_one_action(env, kind, dtype):
    prog = program(env, num_envs=4, num_steps=3)
    state = start(prog)
    assert isinstance(prog.agent.policy(state.params, state.normalizers, state.observation, None), kind)
    _, trajectory = rollout(prog, state, traced_params(env))
    assert trajectory.action.shape == (3, 4, 1, 1)
    assert trajectory.action.dtype == dtype
    assert trajectory.log_prob.shape == trajectory.reward.shape == trajectory.decides.shape == (3, 4, 1)
    assert np.all(np.asarray(trajectory.decides) == 1.0)
    assert ("log_std" in state.params[CONTROL]) == (kind is DiagonalGaussian)


def test_the_environment_receives_the_clipped_action_and_the_log_prob_is_of_the_unclipped_one():
    prog = program(PENDULUM, num_envs=32, num_steps=4)
    state = start(prog)
    head = state.params[CONTROL]["policy_head"]
    state.params[CONTROL]["policy_head"] = jax.tree.map(jnp.zeros_like, head) | {"bias": jnp.full(1, 3.0)}
    _, trajectory = rollout(prog, state, traced_params(PENDULUM))
    action = np.asarray(trajectory.action)
    assert action.max() > 4.0
    np.testing.assert_allclose(trajectory.log_prob, stats.norm.logpdf(action[..., 0], 3.0), rtol=1e-4)
    taken = np.asarray(prog.agent.env_action(trajectory.action))
    np.testing.assert_array_equal(taken, np.clip(action[..., 0, :], -2.0, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("env", [CARTPOLE, PENDULUM])
def test_ratio_is_one_in_the_first_minibatch(env):
    prog = program(env) if env is CARTPOLE else program(env, num_steps=128, reward_scale=0.1, num_minibatches=8)
    state = start(prog)
    for _ in range(2):
        state, metrics = train_chunk(prog, state, traced_params(env), hyper(2), jnp.int32(1))
        assert float(metrics["first_ratio_deviation"][0]) < 1e-6
        assert float(metrics["ratio_deviation"][0]) > 1e-3


@pytest.mark.slow
def test_the_reward_is_scaled_for_the_learner_and_not_for_evaluation():
    plain, scaled = program(PENDULUM), program(PENDULUM, reward_scale=0.1)
    state, params = start(plain), traced_params(PENDULUM)
    rewards = [np.asarray(rollout(prog, state, params)[1].reward) for prog in (plain, scaled)]
    np.testing.assert_allclose(rewards[1], 0.1 * rewards[0], rtol=1e-6)
    judged = [
        np.asarray(episode_returns(prog, state.params, state.normalizers, params, jax.random.key(0), 4, 200))
        for prog in (plain, scaled)
    ]
    np.testing.assert_array_equal(*judged)
    assert np.all((judged[0] < -500.0) & (judged[0] > -2000.0))


def test_a_return_ends_with_the_episode():
    prog, params = program(CARTPOLE), traced_params(CARTPOLE)
    state = start(prog)
    pushes = jax.tree.map(jnp.zeros_like, state.params[CONTROL]["policy_head"]) | {"bias": jnp.array([0.0, 1.0])}
    weights = {CONTROL: {**state.params[CONTROL], "policy_head": pushes}}  # always to the right
    returns = episode_returns(prog, weights, state.normalizers, params, jax.random.key(0), 32, 500)
    assert np.all((np.asarray(returns) >= 7.0) & (np.asarray(returns) <= 12.0)), returns


def test_unsupported_spaces_are_refused():
    class Grid:
        name = "Grid"

        def observation_space(self, params):
            return spaces.Box(0.0, 1.0, (10, 10, 4))

    class Pair(Grid):
        def observation_space(self, params):
            return spaces.Box(0.0, 1.0, (3,))

        def action_space(self, params):
            return spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3)))

    for env, words in ((Grid(), "Grid observes"), (Pair(), "Grid acts in")):
        with pytest.raises(ValueError, match=words):
            control_agent(env, None)
