"""Action distributions of several agents at once: rows are agents, columns their actions, padding is masked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

_HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))
_IMPOSSIBLE = -1e30  # logit of a choice that an agent does not have


@struct.dataclass
class DiagonalGaussian:
    """Independent normals; the action is stored as drawn, before the environment clips or squashes it."""

    mean: jax.Array  # [..., A, K]
    log_std: jax.Array  # broadcasts to mean
    mask: jax.Array  # broadcasts to mean, bool; False where an agent has no such action

    def mode(self) -> jax.Array:
        """The mean ``[..., A, K]``, zero where padded."""
        return jnp.where(self.mask, self.mean, 0.0)

    def noise(self, key: jax.Array, count: int) -> jax.Array:
        """Standard normals ``[count, ..., A, K]``."""
        return jax.random.normal(key, (count, *self.mean.shape), self.mean.dtype)

    def sample(self, noise: jax.Array) -> jax.Array:
        """The draw ``[..., A, K]`` of one entry of `noise`, zero where padded."""
        return jnp.where(self.mask, self.mean + jnp.exp(self.log_std) * noise, 0.0)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log density of each agent's action ``[..., A]``."""
        standardised = (action - self.mean) * jnp.exp(-self.log_std)
        return self._sum(-0.5 * standardised**2 - self.log_std - _HALF_LOG_2PI)

    def entropy(self) -> jax.Array:
        """Differential entropy of each agent's action ``[..., A]``, nats."""
        return self._sum(jnp.broadcast_to(0.5 + _HALF_LOG_2PI + self.log_std, self.mean.shape))

    def kl_to(self, other: DiagonalGaussian) -> jax.Array:
        """KL(self || other) of each agent ``[..., A]``, nats."""
        variance_ratio = jnp.exp(2.0 * (self.log_std - other.log_std))
        distance = ((self.mean - other.mean) * jnp.exp(-other.log_std)) ** 2
        return self._sum(0.5 * (variance_ratio + distance - 1.0) - (self.log_std - other.log_std))

    def _sum(self, terms: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(self.mask, terms, 0.0), axis=-1)


@struct.dataclass
class Categorical:
    """One choice out of N for each agent; the action is the choice's index, so K = 1."""

    logits: jax.Array  # [..., A, N] unnormalised log-probabilities
    mask: jax.Array  # broadcasts to logits, bool; False where an agent has no such choice

    def mode(self) -> jax.Array:
        """The likeliest choice ``[..., A, 1]`` int32, the first of several; zero for an agent without choices."""
        return jnp.argmax(self._log_probs(), axis=-1, keepdims=True).astype(jnp.int32)

    def noise(self, key: jax.Array, count: int) -> jax.Array:
        """Standard Gumbel numbers ``[count, ..., A, N]``."""
        return jax.random.gumbel(key, (count, *self.logits.shape), self.logits.dtype)

    def sample(self, noise: jax.Array) -> jax.Array:
        """The draw ``[..., A, 1]`` int32 of one entry of `noise`, zero for an agent without choices (Gumbel-max)."""
        drawn = jnp.argmax(self._log_probs() + noise, axis=-1).astype(jnp.int32)
        return jnp.where(self._chooses(), drawn, 0)[..., None]

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-probability of each agent's choice ``[..., A]``; zero for an agent without choices."""
        # A comparison with every choice, for the gradient of an index is a scatter, which CPUs are slow at.
        chosen = jnp.arange(self.logits.shape[-1]) == action.astype(jnp.int32)
        log_prob = jnp.sum(jnp.where(chosen, self._log_probs(), 0.0), axis=-1)
        return jnp.where(self._chooses(), log_prob, 0.0)

    def entropy(self) -> jax.Array:
        """Entropy of each agent's choice ``[..., A]``, nats."""
        log_probs = self._log_probs()
        return -self._sum(jnp.exp(log_probs) * log_probs)

    def kl_to(self, other: Categorical) -> jax.Array:
        """KL(self || other) of each agent ``[..., A]``, nats."""
        log_probs = self._log_probs()
        return self._sum(jnp.exp(log_probs) * (log_probs - other._log_probs()))

    def _log_probs(self) -> jax.Array:
        """Normalised ``[..., A, N]``; a finite, impossibly low number where masked, so that no gradient is NaN."""
        return jax.nn.log_softmax(jnp.where(self.mask, self.logits, _IMPOSSIBLE))

    def _chooses(self) -> jax.Array:
        """Whether an agent has any choice; broadcasts to ``[..., A]``."""
        return jnp.any(self.mask, axis=-1)

    def _sum(self, terms: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(self.mask, terms, 0.0), axis=-1)
