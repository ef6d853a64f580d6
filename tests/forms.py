"""The form of a file: keys in their order, nesting and types, held against a committed one.

Keys are a contract with whoever reads the files. After a change that is meant, ``WRITE_FORMS=1 pytest FILE`` writes the
forms in ``tests/golden`` again; the difference belongs to the change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtquant_jax.storage.files import read_sealed, write_sealed

GOLDEN = Path(__file__).parent / "golden"

_NAMES = {bool: "bool", int: "int", float: "float", str: "text", type(None): "null"}


class Differs(Exception):
    """Two forms are not of one kind."""


def form_of(value: Any) -> Any:
    """Types in the place of values; a list is one form of all its items, and so are mappings of equal records."""
    if isinstance(value, dict):
        forms = {key: form_of(item) for key, item in value.items()}
        if len(forms) > 1 and all(isinstance(form, dict) for form in forms.values()):
            try:
                return {f"each of {', '.join(forms)}": merged(list(forms.values()))}
            except Differs:
                return forms
        return forms
    if isinstance(value, list):
        return [merged([form_of(item) for item in value])] if value else []
    return _NAMES[type(value)]


def merged(forms: list[Any]) -> Any:
    """One form of several; null is of any type, as an empty list is of any items."""
    first, *others = forms
    for other in others:
        first = _merge(first, other)
    return first


def _merge(one: Any, other: Any) -> Any:
    if "null" in (one, other):
        return one if other == "null" else other
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        return {key: _merge(one[key], other[key]) for key in one}
    if isinstance(one, list) and isinstance(other, list):
        return (one and other and [_merge(one[0], other[0])]) or one or other
    if isinstance(one, dict) or one != other:
        raise Differs(f"{json.dumps(one)[:200]} and {json.dumps(other)[:200]}")
    return one


def check_form(name: str, content: Any) -> None:
    """Hold a file's content against ``tests/golden/NAME.json``."""
    path, found = GOLDEN / f"{name}.json", form_of(content)
    if os.environ.get("WRITE_FORMS"):
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    try:
        merged([expected, found])
    except Differs as difference:
        raise AssertionError(f"the form of {name} has changed: {difference}") from None


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of a sealed JSON file, as if it had been written so."""
    content = read_sealed(path, "test")
    change(content)
    write_sealed(path, content)
