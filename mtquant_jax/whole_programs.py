"""Compiled programs that a later process of the same command loads without tracing them.

JAX's cache on disk (`program_cache`) spares a process XLA's work; it is asked with what JAX has traced and lowered,
which takes Python seconds for the programs here. An entry of this module is found by what a program is made *of*
instead: the source of the package, versions, settings of JAX, processor, the function, its static arguments by their
content, and the shapes of the others. What cannot be described so, such as a function of the user's own, is traced as
ever.

Only the process of a command keeps programs so. In any other, code of the package may have been replaced or added to
in ways that its files do not show.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import logging
import os
import pickle
import sys
import types
import zlib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "chex", "gymnax", "numpy")
_KNOWN = ("mtquant_jax", "jax", "flax", "optax", "chex", "gymnax", "numpy", "builtins", "functools")
_is_command = False


def this_is_the_command() -> None:
    """Say that this process runs one of the package's commands and nothing else."""
    global _is_command
    _is_command = True


def compiled(
    function: Any,
    static: tuple[Any, ...],
    arguments: tuple[Any, ...],
    options: dict[str, Any] | None = None,
    **static_keywords: Any,
) -> Callable[..., Any]:
    """The executable of ``function(*static, *arguments, **static_keywords)``, loaded where an earlier process left it.

    Args:
        function: from `jax.jit`.
        static: its first arguments, hashable.
        arguments: arrays or `jax.ShapeDtypeStruct` pytrees, of which the executable takes others of the same shapes.
        options: of the compiler.
        static_keywords: static too.
    """
    key = _key(function, static, arguments, options, static_keywords)
    if key is not None and (found := _loaded(key, arguments)) is not None:
        return found
    lowered = function.lower(*static, *arguments, **static_keywords)
    if key is None:
        return lowered.compile(compiler_options=options or {})
    from mtquant_jax.program_cache import taken

    taken.asked, taken.entry = False, None
    program = lowered.compile(compiler_options=options or {})
    if taken.asked:  # otherwise JAX had it in memory, from where it is not known
        _keep(key, program, taken.entry)
    return program


class _Unknown(Exception):
    """A static argument may hold what its description does not say."""


def _key(
    function: Any, static: tuple[Any, ...], arguments: tuple[Any, ...], options: Any, static_keywords: Any
) -> str | None:
    """Of everything that a program is made of; None where that is not known, or nothing is to be kept."""
    import jax

    if not _is_command or _cache() is None:
        return None
    if jax.device_count() > 1:  # programs then hold devices
        return None
    leaves, structure = jax.tree.flatten(arguments)
    shaped = [jax.api_util.shaped_abstractify(leaf) for leaf in leaves]
    try:
        parts = (
            *_surroundings(),
            *(_described(part) for part in (function, static, options, static_keywords)),
            _described_tree(structure),
            repr([(aval.shape, str(aval.dtype), aval.weak_type) for aval in shaped]),
        )
    except _Unknown as reason:
        logging.getLogger(__name__).debug("%s is traced: %s", function, reason)
        return None
    name = function.__wrapped__.__name__.strip("_")
    return f"whole_{name}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}"


@functools.cache
def _surroundings() -> tuple[str, ...]:
    """The package's source, versions, and settings of JAX and XLA."""
    import jax

    source, folder = hashlib.sha256(), Path(__file__).parent
    for file in sorted(folder.rglob("*.py")):
        source.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    versions = [f"{name} {metadata.version(name)}" for name in _LIBRARIES]
    settings = {name: value for name, value in jax.config.values.items() if "cache" not in name}
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    device = jax.devices()[0]
    backend = (device.platform, device.device_kind, device.client.platform_version)
    return sys.version, source.hexdigest(), repr(versions), repr(sorted(settings.items())), repr(flags), repr(backend)


def _described(value: Any) -> str:
    """Text that differs between values of which a program may differ.

    Raises:
        _Unknown: it may hold something that its text does not say.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, enum.Enum)):
        return f"{type(value).__qualname__} {value!r}"
    if isinstance(value, (tuple, list)):
        return _listed(type(value).__qualname__, value)
    if isinstance(value, dict):
        return _listed("dict", (part for pair in value.items() for part in pair))
    if isinstance(value, frozenset):
        return "frozenset " + " ".join(sorted(_described(part) for part in value))
    if isinstance(value, type):
        return _named(value)
    if isinstance(value, functools.partial):
        return _listed("partial", (value.func, value.args, value.keywords))
    if isinstance(value, types.FunctionType):
        if value.__closure__ or "<" in value.__qualname__:
            raise _Unknown(f"{value} holds values of its own")
        return _named(value)
    if hasattr(value, "__wrapped__") and hasattr(value, "lower"):  # of jax.jit
        return _listed("jit", (value.__wrapped__,))
    if dataclasses.is_dataclass(value):
        # A flax module's parent and name are not what it computes; fields that are not compared are in no program.
        fields = [f.name for f in dataclasses.fields(value) if f.compare and f.name not in ("parent", "name")]
        return _listed(_named(type(value)), (part for name in fields for part in (name, getattr(value, name))))
    if type(value).__module__.split(".")[0] == "mtquant_jax" and hasattr(value, "__dict__"):
        return _listed(_named(type(value)), (part for pair in sorted(vars(value).items()) for part in pair))
    raise _Unknown(f"{type(value)} is not known")


def _listed(name: str, parts: Iterable[Any]) -> str:
    return f"{name}({', '.join(_described(part) for part in parts)})"


def _named(value: Any) -> str:
    """A function or class of the package, or of a library that it is built on, by its name."""
    if value.__module__.split(".")[0] not in _KNOWN:
        raise _Unknown(f"{value} is not of this package")
    return f"{value.__module__}.{value.__qualname__}"


def _described_tree(structure: Any) -> str:
    """A pytree's nodes with their static fields."""
    data = structure.node_data()
    if data is None:
        return "leaf" if structure.num_leaves else "none"
    return f"{_described(data)}[{', '.join(map(_described_tree, structure.children()))}]"


def _cache() -> Any:
    """JAX's cache on disk, with checksums; None where there is none, or this JAX has none that is checked."""
    import jax
    from jax._src import compilation_cache

    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or not jax.config.values["jax_enable_compilation_cache"]:
        return None
    try:
        from mtquant_jax.program_cache import CheckedCache

        found = compilation_cache.get_file_cache(folder)
    except (ImportError, AttributeError):  # another JAX keeps its cache elsewhere
        return None
    return found[0] if found is not None and isinstance(found[0], CheckedCache) else None


def _loaded(key: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
    """A program that was kept; None where there is none that can be read."""
    import jax
    from jax.experimental.serialize_executable import deserialize_and_load

    entry = _cache().get(key)
    if entry is None:
        return None
    try:
        program, out_tree = pickle.loads(zlib.decompress(entry))
        found: Callable[..., Any] = deserialize_and_load(program, jax.tree.structure((arguments, {})), out_tree)
    except Exception as error:  # whatever it is, the program can be made again
        logging.getLogger(__name__).debug("%s cannot be loaded: %s", key, error)
        return None
    return found


def _keep(key: str, program: Any, from_cache: bytes | None) -> None:
    """Keep a program, where it can be.

    Args:
        key: to find it by.
        program: compiled.
        from_cache: what JAX's cache had of it, if it had; a CPU cannot write a program again that it has read.
    """
    with contextlib.suppress(Exception):  # a disk that is full, a program that holds arrays, another JAX: traced again
        content, _, out_tree = _with_machine_code(from_cache)(program)
        _cache().put(key, zlib.compress(pickle.dumps((content, out_tree)), 1))


def _with_machine_code(from_cache: bytes | None) -> Callable[[Any], tuple[bytes, Any, Any]]:
    """JAX's `serialize`, with the machine code of an entry of its cache."""
    from jax._src import compilation_cache
    from jax.experimental import serialize_executable

    if from_cache is None:
        return serialize_executable.serialize
    code, _ = compilation_cache.extract_executable_and_time(compilation_cache.decompress_executable(from_cache))

    class Pickler(serialize_executable._JaxPjrtPickler):
        def persistent_id(self, obj: Any) -> Any:
            found = super().persistent_id(obj)
            return ("exec", code) if found is not None and found[0] == "exec" else found

    names = {**serialize_executable.serialize.__globals__, "_JaxPjrtPickler": Pickler}
    return types.FunctionType(serialize_executable.serialize.__code__, names)
