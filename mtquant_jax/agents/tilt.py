"""The size of a policy's tilt: what is handed on of it, from nothing, which is the anchor, to all of it.

A specialist's actions are changes of its tilt, and it sees the tilt that it holds. Half of its tilt is therefore the
policy with half of its head that sees what it holds twice as large: scaling both keeps the shape of what it does.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import META, SPECIALIST, SPECIALISTS
from mtquant_jax.agents.normalizer import Normalizer

_HEAD = "policy_head"  # of a specialist; zeros in it are no tilt
_META_HEADS = ("class_head", "policy_head")  # of the meta-controller; zeros in them are always the same allocation


def with_tilt(policy: Policy, size: float | np.ndarray) -> Policy:
    """A policy whose specialists take ``size`` times their tilts.

    Args:
        policy: of one specialist, or of a hierarchy.
        size: 1 leaves it as it is, 0 is the anchor; of stacked specialists also ``[S]``.
    """
    params, normalizers = dict(policy.params), dict(policy.normalizers)
    for name in (SPECIALIST, SPECIALISTS):
        if name not in params or np.all(np.asarray(size) == 1.0):
            continue
        head = jax.tree.map(lambda leaf: _times(leaf, size), params[name][_HEAD])
        params[name] = {**params[name], _HEAD: head}
        # Where nothing is left of the tilt, what it sees of it does not matter.
        normalizers[name] = _seen_as(normalizers[name], np.where(np.asarray(size) > 0.0, size, 1.0))
    return Policy(params, normalizers)


def untilted(policy: Policy, capital: Any = None) -> Policy:
    """The anchor in the form of a policy.

    Args:
        policy: of one specialist, or of a hierarchy.
        capital: ``[S]`` logits of the classes' capital that a hierarchy always has.
    """
    found = with_tilt(policy, 0.0)
    if META not in found.params:
        return found
    zero = {name: jax.tree.map(lambda leaf: _times(leaf, 0.0), found.params[META][name]) for name in _META_HEADS}
    return Policy({**found.params, META: {**found.params[META], **zero, "class_bias": capital}}, found.normalizers)


def tilts(policy: Policy) -> np.ndarray:
    """Whether specialists have a tilt at all: ``[]``, or ``[S]`` of stacked ones."""
    stacked = SPECIALISTS in policy.params
    leaves = jax.tree.leaves(policy.params[SPECIALISTS if stacked else SPECIALIST][_HEAD])
    found = [np.asarray(leaf) != 0.0 for leaf in leaves]
    return np.any([leaf.reshape(len(leaf) if stacked else 1, -1).any(axis=-1) for leaf in found], axis=0).squeeze()


def _seen_as(normalizer: Normalizer, size: np.ndarray) -> Normalizer:
    """Statistics under which a tilt looks like one ``1 / size`` times as large; it is the last of the inputs."""

    def scaled(inputs: Any, factor: np.ndarray) -> Any:
        values, by = np.array(inputs.instruments), np.asarray(factor, np.float32)
        values[..., -1] *= by.reshape(*by.shape, *[1] * (values.ndim - 1 - by.ndim))
        return dataclasses.replace(inputs, instruments=jax.device_put(values))

    return dataclasses.replace(
        normalizer, mean=scaled(normalizer.mean, size), variance=scaled(normalizer.variance, size**2)
    )


def _times(leaf: Any, size: float | np.ndarray) -> jax.Array:
    """A parameter times a number, or times one per specialist on its leading axis."""
    value = np.asarray(leaf)
    factor = np.asarray(size, np.float32)
    return jax.device_put(value * factor.reshape(*factor.shape, *[1] * (value.ndim - factor.ndim)))
