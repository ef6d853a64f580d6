"""Reads and writes YAML: a strict dialect without code, bounded in size, and sealed where the program relies on it.

Scalars follow YAML 1.2 (``1e-4`` is a number, ``NO`` and ``2020-01-01`` are text), and a key may be given once.
"""

from __future__ import annotations

import functools
import hashlib
import re
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import replacing

_LARGEST = 1 << 20
"""Bytes of the largest YAML file that is read."""

_MOST_VALUES = 100_000
"""Keys and values of a file, where an alias counts as what it stands for."""

_DEEPEST = 50
"""Levels of groups and lists within each other."""

_SEAL = "# SHA-256 of the lines above: "
"""How the last line of a file begins that the program has written and relies on."""


class _Loader(yaml.SafeLoader):
    """A safe loader with YAML 1.2 scalars that refuses duplicate keys and keys that are not text."""


class _FastLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Reads what this program has written, several times as fast; its messages are not those of `_Loader`."""


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes exactly the text that `_Loader` would take for something else."""


_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)

for _class in (_Loader, _FastLoader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _tag, _pattern, _first in _SCALARS:
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}",
            re.compile(f"^(?:{_pattern})$"),
            ["" if character == "\0" else character for character in _first],
        )


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    value = int(loader.construct_scalar(node).replace("_", ""))  # YAML 1.1 would read 010 as eight
    if abs(value) >= 1 << 63:
        raise ValueError("no number of the program is as large")
    return value


def _in_words(construct: Callable[[_Loader, Any], Any], what: str) -> Callable[[_Loader, Any], Any]:
    """A constructor that names the line of a text that it cannot read."""

    def constructed(loader: _Loader, node: Any) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, KeyError):
            problem = f"{brief(node.value)} is no {what}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from None

    return constructed


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
    seen: dict[Hashable, int] = {}
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            raise yaml.constructor.ConstructorError(problem="a key must be text; quote it", problem_mark=key.start_mark)
        if key.value in seen:
            problem = f"key {cut(key.value)} was given already in line {seen[key.value]}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
        seen[key.value] = key.start_mark.line + 1
    result: dict[str, Any] = {}
    yield result  # before it is filled, so that an alias inside may point to it
    loader.flatten_mapping(node)
    result.update((str(key), value) for key, value in loader.construct_mapping(node).items())


_CONSTRUCTORS: dict[str, Callable[[_Loader, Any], Any]] = {
    "int": _in_words(_construct_int, "whole number of at most 64 bits"),
    "float": _in_words(_Loader.construct_yaml_float, "number"),
    "bool": _in_words(_Loader.construct_yaml_bool, "true or false"),
    "null": _Loader.construct_yaml_null,
    "str": _Loader.construct_yaml_str,
    "seq": _Loader.construct_yaml_seq,
    "map": _construct_mapping,
}
# No sets, dates or bytes, and nothing of Python.
_Loader.yaml_constructors = {f"tag:yaml.org,2002:{name}": construct for name, construct in _CONSTRUCTORS.items()}
_Loader.add_constructor(None, _Loader.construct_undefined)  # type: ignore[type-var]
_FastLoader.yaml_constructors = _Loader.yaml_constructors


def _check_size(node: yaml.Node) -> None:
    """Refuse aliases within what they stand for, levels without end, and files that unfold to too much."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in sizes:
            if sizes[id(node)] == 0:
                raise yaml.composer.ComposerError(problem="an alias within itself", problem_mark=node.start_mark)
            return sizes[id(node)]
        if depth > _DEEPEST:
            problem = f"groups and lists within each other, over more than {_DEEPEST} levels"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=node.start_mark)
        sizes[id(node)] = 0
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        found = 1 + sum(size(part, depth + 1) for part in parts)
        if found > _MOST_VALUES:
            problem = f"more than {_MOST_VALUES:,} keys and values, where aliases count as what they stand for"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=node.start_mark)
        sizes[id(node)] = found
        return found

    size(node, 0)


def read_yaml(path: Path, must_be_sealed: bool = False) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: the file.
        must_be_sealed: whether it has to be one that `write_settings` wrote, unchanged. Another file may be, and then
            has to be unchanged as well.

    Raises:
        UserError: the file cannot be read, is empty, too large or too deep, is not a mapping, gives a key twice, is not
            YAML, or was changed although it is sealed; the message names the file and, where there is one, the line.
    """
    text = _text(Path(path))
    if _check_seal(path, text, must_be_sealed) and (own := _by_blocks(text)) is not None:
        return own
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _check_size(node)
        content = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path} line {number}: the character {error.character:#x} belongs in no text") from None
    except RecursionError:
        raise UserError(f"{path}: groups and lists within each other, over more than {_DEEPEST} levels") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    finally:
        if loader is not None:
            loader.dispose()
    if content is None:
        raise UserError(f"{path}: the file is empty; expected keys and values")
    if not isinstance(content, dict):
        raise UserError(f"{path} line 1: expected keys and values at the top level, found {shown(content)}")
    return content


def _by_blocks(text: str) -> dict[str, Any] | None:
    """What a file of the program's own says, top-level key by key, for two runs have most of their blocks in common.

    None where it cannot be read so: then the whole of it is read, and what is wrong with it is named.
    """
    if "&" in text or "*" in text:  # an alias may stand for what another block says
        return None
    content: dict[str, Any] = {}
    for block in re.split(r"^(?=[^\s#-])", text, flags=re.MULTILINE)[1:]:
        try:
            found = _block(block)
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or not content.keys().isdisjoint(found):
            return None
        content |= _copied(found)
    return content or None


@functools.lru_cache(maxsize=1024)
def _block(text: str) -> Any:
    loader = _FastLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _copied(value: Any) -> Any:
    """Nested groups and lists that may be changed."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def read_scalar(text: str) -> Any:
    """A value as a YAML file would hold it: a number, true or false, or else the text itself."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError):
        return text
    return value if isinstance(value, (bool, int, float)) else text


def _text(path: Path) -> str:
    """The text of a file that is not too large for one of settings."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > _LARGEST:
        raise UserError(f"{path}: more than {_LARGEST:,} bytes; no file of settings has")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} line {line}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _check_seal(path: Path, text: str, must_be_sealed: bool) -> bool:
    """Whether the program has written a file; refused where it was changed since."""
    body, found, seal = text.rpartition(_SEAL)
    if not found:
        if must_be_sealed:
            raise UserError(f"{path} has no checksum; it was written by an earlier version, or is damaged")
    elif seal != f"{_checksum(body)}\n":
        raise UserError(
            f"{path} was changed after it was written, or is damaged: its last line, a checksum, is of other lines; "
            "settings that you change go into a file of your own, without that line"
        )
    return bool(found)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def yaml_text(mapping: Mapping[str, Any]) -> str:
    """The YAML that `read_yaml` would read as these nested dicts and lists."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None)


def write_sealed_yaml(path: Path, text: str) -> None:
    """Write YAML with a checksum as the last line."""
    with replacing(path) as temporary:
        temporary.write_bytes(f"{text}{_SEAL}{_checksum(text)}\n".encode())


def shown(value: Any) -> str:
    """A value of a YAML file as a reader of that file would call it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{cut(value)}"'
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a group of keys" if isinstance(value, (dict, types.MappingProxyType)) else cut(str(value))


def brief(value: Any) -> str:
    """A value of a YAML file as Python writes it, of no more than a line."""
    return cut(repr(value))


def cut(text: str) -> str:
    """A text of no more than 80 characters."""
    return text if len(text) <= 80 else f"{text[:77]}..."
