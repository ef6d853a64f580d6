"""The whole Expert Advisor as C++ in a terminal in memory: its text is translated by a few rules and compiled."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path

from mtquant_jax.deploy.mql5.compiled import build, template

_HERE = Path(__file__).parent
_RULES = [
    (r"(?m)^#(property|resource|import)[^\n]*$", ""),
    (r"(?m)^input group [^\n]*$", ""),
    (r"(?m)^input\s+", ""),
    (r'(?m)^#include "[^"]*"$', ""),
    (r"const uchar &(\w+)\[\]", r"const Dynamic<uchar> &\1"),
    (r"(const )?(\w+) &(\w+)\[\]", r"\1\2 *\3"),
    (r"(?m)^(\s*)(uchar|MqlRates|string)\s+(\w+)\[\];", r"\1Dynamic<\2> \3;"),
    (r'"(?:\\.|[^"\\\n])*"', r"S(\g<0>)"),
]
"""MQL5 -> C++: what stands before a compiler, references to arrays, dynamic arrays and strings."""


def translated(files: Mapping[str, str | bytes]) -> str:
    """The Expert Advisor as one C++ text, in the order of its includes."""
    main = files["MTQuant.mq5"]
    assert isinstance(main, str)
    names = re.findall(r'#include "([^"]*)"', main)
    texts = [str(files[name]) for name in names]
    generated = {"features.mqh", "account_view.mqh", "risk.mqh", "order_size.mqh", "numbers.mqh"}
    parts = []
    for name, text in zip([*names, "MTQuant.mq5"], [*texts, main], strict=True):
        for pattern, into in [] if name in generated else _RULES:
            text = re.sub(pattern, into, without_comments(text))
        parts.append(text)
        if name == "state.mqh":
            parts.append("PROTOTYPES")
    whole = "\n".join(parts)
    late = re.findall(r"(?m)^((?:void|bool|int|double) (?:Note|PaperDeal|HeldLots)\([^)]*\)) \{", whole)
    return whole.replace("PROTOTYPES", "\n".join(f"{one};" for one in late))


def without_comments(text: str) -> str:
    return re.sub(r'("(?:\\.|[^"\\\n])*")|//[^\n]*', lambda match: match[1] or "", text)


class Terminal:
    """A terminal with the Expert Advisor on a chart."""

    def __init__(self, files: Mapping[str, str | bytes], folder: Path) -> None:
        inputs = re.findall(r"(?m)^input\s+(bool|double|long|int)\s+(\w+)", str(files["settings.mqh"]))
        setters = [f'extern "C" void set_{name}({kind} value) {{ {name} = value; }}' for kind, name in inputs]
        strings = ("InpSuffix", "InpAliases")
        setters += [f'extern "C" void set_{name}(const char *value) {{ {name} = value; }}' for name in strings]
        headers = [template("shim.hpp"), (_HERE / "terminal.hpp").read_text(encoding="utf-8")]
        control = (_HERE / "control.hpp").read_text(encoding="utf-8")
        whole = "\n".join([*headers, translated(files), control, *setters])
        self.library = build(folder, "terminal", whole)
        self._kinds = {name: kind for kind, name in inputs}
        for name, kind in {"lots": "d", "result": "d", "log": "s", "file": "s"}.items():
            result = {"d": ctypes.c_double, "s": ctypes.c_char_p}[kind]
            getattr(self.library, f"terminal_{name}").restype = result
        for name in ("weight", "wanted", "equity"):
            getattr(self.library, f"advisor_{name}").restype = ctypes.c_double
        self.library.advisor_bar.restype = ctypes.c_long
        self._kept: list[object] = []

    def set(self, **inputs: float | str) -> None:
        """Change inputs by name."""
        kinds = {"bool": ctypes.c_bool, "double": ctypes.c_double, "long": ctypes.c_long, "int": ctypes.c_int}
        for name, value in inputs.items():
            given = ctypes.c_char_p(value.encode()) if isinstance(value, str) else kinds[self._kinds[name]](value)
            getattr(self.library, f"set_{name}")(given)

    def do(self, name: str, *arguments: float | str) -> object:
        """Call a function of control.hpp; whole numbers are long, others double, text UTF-8."""
        given = [_argument(argument) for argument in arguments]
        found = getattr(self.library, name)(*given)
        return found.decode() if isinstance(found, bytes) else found

    def policy(self, decide: object, num_inputs: int, num_actions: int) -> None:
        """Let ``decide``, of an array [1, K], be the model."""
        import numpy as np

        kind = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_float))

        def call(given: object, made: object) -> None:
            inputs = np.ctypeslib.as_array(given, (num_inputs,))
            np.ctypeslib.as_array(made, (num_actions,))[:] = decide(inputs[None].copy()).reshape(-1)

        self._kept.append(kind(call))
        self.library.terminal_policy(self._kept[-1])


def _argument(value: float | str) -> object:
    if isinstance(value, str):
        return ctypes.c_char_p(value.encode())
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.c_double(value)
