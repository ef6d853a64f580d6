"""Toy environments of a few lines with known values, and an agent for them: PPO knows no market."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from mtquant_jax.agents.contract import Group
from mtquant_jax.agents.distributions import DiagonalGaussian
from mtquant_jax.agents.normalizer import start_normalizer
from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.learning.train import start_training
from tests.conftest import f32


@struct.dataclass
class ToyParams:
    max_steps_in_episode: Any = 5
    reward_delay: Any = 0  # 1 pays for the action of the step before
    action_reward: Any = 0.0  # 1 rewards -(action - observation)^2, 0 a constant 1


@struct.dataclass
class ToyState:
    time: Any
    target: Any
    last: Any


class ToyEnv(Environment):
    """Constant reward, or reward for an action equal to the observation, now or one step later."""

    _supports_transition_gradients = True

    def step_env(self, key, state, action, params):
        hit = -((action[0] - state.target) ** 2)
        paid = jnp.where(params.reward_delay > 0, state.last, hit)
        reward = jnp.where(params.action_reward > 0, paid, 1.0)
        state = ToyState(time=state.time + 1, target=jax.random.normal(key), last=hit)
        return self.observe(key, state, action, params), state, reward, jnp.zeros((), bool), {}

    def reset_env(self, key, params):
        state = ToyState(time=jnp.zeros((), jnp.int32), target=jax.random.normal(key), last=jnp.zeros(()))
        return self.observe(key, state, None, params), state

    def observe(self, key, state, action, params):
        return state.target[None]


class ToyNetwork(nn.Module):
    actions: int

    def setup(self):
        self.hidden = nn.Dense(32)
        self.mean = nn.Dense(self.actions)
        self.critic = nn.Dense(32)
        self.head = nn.Dense(1)
        self.log_std = self.param("log_std", nn.initializers.constant(-0.5), (self.actions,))

    def __call__(self, x):
        return self.mean(nn.tanh(self.hidden(x))), self.log_std, self.head(nn.tanh(self.critic(x)))


@dataclasses.dataclass(frozen=True)
class ToyAgent:
    """Two action columns of which the second may be padding."""

    network: ToyNetwork
    padded: bool = False

    num_agents = 1
    groups = (Group("toy"),)

    def inputs(self, observation, env_params):
        return observation

    def policy(self, params, normalizers, inputs, env_params):
        mean, log_std, _ = self.network.apply({"params": params["toy"]}, normalizers["toy"].normalise(inputs))
        mask = jnp.array([[True, not self.padded]])
        return DiagonalGaussian(mean=mean[..., None, :], log_std=log_std, mask=mask)

    def value(self, params, normalizers, inputs):
        return self.network.apply({"params": params["toy"]}, normalizers["toy"].normalise(inputs))[2]

    def env_action(self, action):
        return action[..., 0, :]

    def decides(self, observation):
        return jnp.ones((*observation.shape[:-1], 1))

    def rewards(self, reward, info):
        return reward[..., None]

    def control(self, info):
        return None

    def metrics(self, info):
        return {}

    def extend_normalizers(self, normalizers, inputs):
        return {"toy": normalizers["toy"].extend(inputs)}


ENV = ToyEnv()


def program(padded: bool = False, num_envs: int = 16, num_steps: int = 16, **changes) -> Program:
    """A small program on the toy environment."""
    learner = PPO(**{"num_minibatches": 4, "num_epochs": 4, **changes})
    objective = Objective(streams=(0,), policy=(1.0,), value=(1.0,))
    return Program(ENV, ToyAgent(ToyNetwork(2), padded), (objective,), num_envs, num_steps, learner)


def hyper(total_updates: int, **changes) -> Hyper:
    """Plain PPO settings, changed where asked."""
    settings = {
        "learning_rate": {"toy": 3e-3},
        "update_interval": {"toy": 1.0},
        "total_updates": total_updates,
        "anneal_learning_rate": 0.0,
        "gamma": 0.9,
        "gae_lambda": 0.9,
        "clip_range": 0.2,
        "value_clip_range": 0.0,
        "value_weight": 0.5,
        "entropy_weight": 0.0,
        "max_grad_norm": 10.0,
        "weight_decay": 0.0,
        "target_kl": 0.0,
        "leash": 0.0,
        "individual_weight": 0.5,
        "coordination_weight": 0.5,
        "project_conflicts": 1.0,
        **changes,
    }
    return jax.tree.map(f32, Hyper(**settings))


def start(prog: Program, params: ToyParams, seed: int = 0, reference=None):
    """A fresh training state."""
    network = prog.agent.network
    weights = {"toy": network.init(jax.random.key(seed), jnp.zeros(1))["params"]}
    normalizers = {"toy": start_normalizer(jax.ShapeDtypeStruct((1,), jnp.float32))}
    return start_training(prog, weights, normalizers, reference or {}, params, jax.random.key(seed + 1))
