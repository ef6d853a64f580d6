"""Turns a pytree into named NumPy arrays and back, exactly; checkpoints and model bundles store these arrays.

Arrays are copies, so that a donated buffer may be overwritten while they are being written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError


def to_named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Copy the leaves of a pytree to the host, named by their path in it (``params.encoder.kernel``).

    Typed PRNG keys become their key data, uint32 with one more axis. Python numbers become 0-d arrays.

    Raises:
        ValueError: two leaves have the same name (a dictionary key contains a dot).
    """
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    arrays = {_name(path): np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for path, leaf in leaves}
    if len(arrays) != len(leaves):
        raise ValueError("two leaves of the pytree have the same name; use no dots in dictionary keys")
    return arrays


def empty_arrays(like: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a pytree that have no elements; `like` determines them completely."""
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(like)
    return {
        _name(path): np.zeros(leaf.shape, leaf.dtype)
        for path, leaf in leaves
        if not _is_key(leaf) and 0 in getattr(leaf, "shape", ())
    }


def from_named_arrays(arrays: Mapping[str, np.ndarray], like: Any, source: str) -> Any:
    """Restore a pytree from named arrays.

    Args:
        arrays: output of `to_named_arrays`.
        like: a pytree of the same structure; leaves are arrays or `jax.ShapeDtypeStruct`.
        source: origin of the arrays, for messages.

    Returns:
        a pytree like `like` of JAX arrays; 64-bit leaves remain NumPy arrays if JAX is limited to 32 bits.

    Raises:
        UserError: an array is missing, unexpected, or of another shape or type.
    """
    check_arrays({name: (array.shape, array.dtype) for name, array in arrays.items()}, like, source)
    import jax

    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    return jax.tree_util.tree_unflatten(structure, [_restored(arrays[_name(path)], leaf) for path, leaf in leaves])


def check_arrays(found: Mapping[str, tuple[tuple[int, ...], Any]], like: Any, source: str) -> None:
    """Refuse arrays that are not those of a pytree, known by their names, shapes and types alone.

    Args:
        found: name -> shape and type, of arrays as `to_named_arrays` gives them.
        like: a pytree; leaves are arrays or `jax.ShapeDtypeStruct`.
        source: origin of the arrays, for messages.

    Raises:
        UserError: an array is missing, unexpected, or of another shape or type.
    """
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(path): leaf for path, leaf in leaves}
    complaint = f"{source} does not fit this configuration:"
    if missing := [name for name in expected if name not in found]:
        raise UserError(f"{complaint} {missing[0]} is missing{_and_more(missing)}")
    if surplus := [name for name in found if name not in expected]:
        raise UserError(f"{complaint} {surplus[0]} is unexpected{_and_more(surplus)}")
    for name, leaf in expected.items():
        shape, dtype = found[name]
        wanted = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else _with_type(leaf)
        if tuple(shape) != tuple(wanted.shape) or dtype != wanted.dtype:
            given = f"{np.dtype(dtype)}{list(shape)}"
            raise UserError(f"{complaint} {name} is {given}, expected {np.dtype(wanted.dtype)}{list(wanted.shape)}")


def _with_type(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _restored(array: np.ndarray, like: Any) -> Any:
    """An array that `check_arrays` has passed, as the leaf that it is."""
    import jax

    if _is_key(like):
        return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=_key_implementation(like))
    exact = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
    return jax.device_put(array) if exact else array


def _key_implementation(like: Any) -> Any:
    """Return the PRNG implementation of a key; `jax.random.key_impl` accepts tracers, but no abstract leaves."""
    import jax

    found = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _is_key(leaf: Any) -> bool:
    import jax

    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(path: tuple[Any, ...]) -> str:
    import jax

    return jax.tree_util.keystr(path, simple=True, separator=".") or "array"
