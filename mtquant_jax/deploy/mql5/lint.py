"""Rules for MQL5 text: the mistakes that are known to cost money, found without MetaEditor."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping


@dataclasses.dataclass(frozen=True)
class Finding:
    """A broken rule at a place."""

    file: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.text}"


Rule = Callable[[str], Iterator[tuple[int, str]]]
"""Text without comments and strings -> positions of characters and what is wrong there."""


def findings(file: str, text: str) -> list[Finding]:
    """All broken rules of one file, in the order of its lines.

    Args:
        file: its name, for the findings.
        text: as it is written, with a byte-order mark if it has one.
    """
    code = code_of(text)
    found = [
        Finding(file, text.count("\n", 0, position) + 1, name, said)
        for name, rule in RULES.items()
        for position, said in rule(text if name == "encoding" else code)
    ]
    return sorted(found, key=lambda finding: (finding.line, finding.rule))


def code_of(text: str) -> str:
    """The text with blanks in the place of comments and of what stands in quotes, so that positions stay."""

    def blank(match: re.Match[str]) -> str:
        blanks = re.sub(r"[^\n]", " ", match.group())
        return f'"{blanks[1:-1]}"' if match.group().startswith('"') else blanks

    return re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.DOTALL)


def _calls(code: str, name: str) -> Iterator[tuple[int, list[str], str]]:
    """Calls of a function: where, their arguments, and what stands before them in their statement."""
    for match in re.finditer(rf"\b{name}\s*\(", code):
        depth, start, arguments, position = 1, match.end(), [], match.end()
        while position < len(code) and depth:
            sign = code[position]
            depth += (sign in "([{") - (sign in ")]}")
            if (sign == "," and depth == 1) or depth == 0:
                arguments.append(code[start:position].strip())
                start = position + 1
            position += 1
        before = re.split(r"[;{}]", code[: match.start()])[-1]
        yield match.start(), arguments, before


def _encoding(text: str) -> Iterator[tuple[int, str]]:
    if text.startswith("\ufeff"):
        yield 0, "begins with a byte-order mark"
    for match in re.finditer(r"[^\x00-\x7f\ufeff]", text):
        yield match.start(), f"has the character {match.group()!r}, which is read differently with another code page"


def _unfinished_bar(code: str) -> Iterator[tuple[int, str]]:
    for name, place in (("CopyRates", 2), ("CopyClose", 2), ("CopyOpen", 2), ("CopyBuffer", 2)):
        for position, arguments, _ in _calls(code, name):
            if len(arguments) > place and arguments[place] == "0":
                yield position, f"{name} from position 0 reads the unfinished bar; start at 1 or ask by time"
    for name in ("iOpen", "iHigh", "iLow", "iClose", "iTime", "iVolume"):
        for position, arguments, _ in _calls(code, name):
            if len(arguments) > 2 and arguments[2] == "0":
                yield position, f"{name} of index 0 is of the unfinished bar"


def _series(code: str) -> Iterator[tuple[int, str]]:
    for position, arguments, _ in _calls(code, "CopyRates"):
        target = re.escape(arguments[-1])
        if not re.search(rf"ArraySetAsSeries\s*\(\s*{target}\s*,\s*(true|false)\s*\)", code[:position]):
            yield position, f"the direction of {arguments[-1]} is not set by ArraySetAsSeries before CopyRates"


def _onnx(code: str) -> Iterator[tuple[int, str]]:
    created = [*_calls(code, "OnnxCreateFromBuffer"), *_calls(code, "OnnxCreate")]
    for position, _, _ in created:
        for name in ("OnnxSetInputShape", "OnnxSetOutputShape", "OnnxRelease"):
            if not any(True for _ in _calls(code, name)):
                yield position, f"a model is created and {name} is never called"


_ANSWERS = (
    "OrderSend",
    "OrderCheck",
    "OnnxRun",
    "OnnxSetInputShape",
    "OnnxSetOutputShape",
    "CopyRates",
    "FileMove",
    "SymbolSelect",
    "SymbolInfoTick",
    "HistorySelect",
)
"""Functions that say whether they did what was asked."""


def _is_checked(before: str) -> bool:
    return bool(re.search(r"=|\breturn\b|\bif\b|\bwhile\b|[!&|]\s*$|\(\s*$", before))


def _unchecked(code: str) -> Iterator[tuple[int, str]]:
    for name in _ANSWERS:
        for position, _, before in _calls(code, name):
            if not _is_checked(before):
                yield position, f"the answer of {name} is not looked at"


def _order_without_check(code: str) -> Iterator[tuple[int, str]]:
    for position, _, _ in [*_calls(code, "OrderSend"), *_calls(code, "OrderSendAsync")]:
        begin = code.rfind("\n}", 0, position)
        if not any(True for _ in _calls(code[max(begin, 0) : position], "OrderCheck")):
            yield position, "an order is sent that OrderCheck has not seen in the same function"


def _credentials(code: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"\binput\s+\w+\s+(\w+)", code):
        if re.search(r"passw|secret|token|api_?key|credential|pin_?code", match.group(1), re.IGNORECASE):
            yield match.start(), f"the input {match.group(1)} asks for a credential, which presets and logs show"


def _float_equality(code: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"([\w.\[\]]*GOLDEN_[A-Z]+(?:\[[^\]]*\])?)\s*([!=]=)|([!=]=)\s*[\w.]*GOLDEN_[A-Z]+", code):
        yield match.start(), "golden numbers are compared for equality; float and double differ in their last digits"
    for match in re.finditer(r"MathAbs\s*\([^;]*?\)\s*[<>]=?\s*(?:FLT|DBL)_EPSILON", code):
        yield match.start(), "a tolerance of one epsilon mixes float and double; use one that says what is near"


def _hidden_sleep(code: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"while\s*\(\s*(true|1)\s*\)", code):
        yield match.start(), "a loop without an end stops the terminal"


def _magic(code: str) -> Iterator[tuple[int, str]]:
    match = re.search(r"\bMqlTradeRequest\s+\w+\s*[;=]", code)
    if match and not re.search(r"\brequest\.magic\s*=", code):
        yield match.start(), "orders have no magic number"


def _filling(code: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"type_filling\s*=\s*ORDER_FILLING_\w+", code):
        yield match.start(), "the filling mode is fixed; take one of those in SYMBOL_FILLING_MODE"


def _lots(code: str) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"\.volume\s*=\s*\d", code):
        yield match.start(), "the volume is fixed; lots must be whole SYMBOL_VOLUME_STEP"


def _braces(code: str) -> Iterator[tuple[int, str]]:
    depth = 0
    for match in re.finditer(r"[{}]", code):
        depth += 1 if match.group() == "{" else -1
        if depth < 0:
            yield match.start(), "a brace closes that none opened"
            return
    if depth:
        yield len(code), f"{depth} braces are not closed"


RULES: Mapping[str, Rule] = {
    "encoding": _encoding,
    "unfinished-bar": _unfinished_bar,
    "series": _series,
    "onnx": _onnx,
    "unchecked": _unchecked,
    "order-without-check": _order_without_check,
    "credentials": _credentials,
    "float-equality": _float_equality,
    "endless-loop": _hidden_sleep,
    "magic": _magic,
    "filling": _filling,
    "lots": _lots,
    "braces": _braces,
}
"""By name."""
