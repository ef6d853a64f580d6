"""Writes elementwise functions and numbers as MQL5 and C++ read them; numbers.mqh has the functions that are called."""

from __future__ import annotations

import numpy as np

from mtquant_jax.deploy.mql5.structs import TYPES
from mtquant_jax.deploy.operations import BOOLEAN, INTEGER

_INFIX = {"add": "+", "sub": "-", "mul": "*", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_INFIX |= {"and": "&&", "or": "||", "xor": "!="}
_CALLS = {"div": "Quotient", "max": "Larger", "min": "Smaller", "pow": "PowerOf", "sign": "SignOf", "exp": "ExpOf"}
_CALLS |= {"expm1": "Expm1Of", "log": "LogOf", "log1p": "Log1pOf", "tanh": "TanhOf", "logistic": "SigmoidOf"}
_CALLS |= {"sqrt": "SqrtOf", "floor": "FloorOf", "ceil": "CeilOf", "round": "RoundEven", "abs": "SizeOf"}
_CALLS |= {"is_finite": "MathIsValidNumber", "rem": "Remainder"}
_OF_INTEGERS = {"max": "LargerInt", "min": "SmallerInt", "div": "QuotientInt", "rem": "RemainderInt"}
_OF_INTEGERS |= {"sign": "SignOfInt", "abs": "SizeOfInt"}
_LARGEST = float(np.finfo(np.float32).max)


def value_of(function: str, operands: list[str], dtype: np.dtype, result: np.dtype) -> str:
    """An elementwise function of operands whose last one has a type."""
    if function == "where":
        return f"{operands[0]} ? {operands[1]} : {operands[2]}"
    if function == "neg":
        return f"-{operands[0]}"
    if function == "not":
        return f"!{operands[0]}"
    if function == "convert":
        return _converted(operands[0], dtype, result)
    if function in _INFIX:
        return f"{operands[0]} {_INFIX[function]} {operands[1]}"
    name = _OF_INTEGERS.get(function) if dtype == INTEGER else _CALLS.get(function)
    if name is None:
        raise ValueError(f"MQL5 has no rendering of {function} of {dtype}")
    return f"{name}({', '.join(operands)})"


def _converted(operand: str, dtype: np.dtype, result: np.dtype) -> str:
    if dtype == BOOLEAN:
        return f"{operand} ? {literal(result.type(1))} : {literal(result.type(0))}"
    return f"{operand} != {literal(dtype.type(0))}" if result == BOOLEAN else f"({TYPES[result]}){operand}"


def literal(value: np.generic) -> str:
    """A number as MQL5 and C++ read it, to the last digit; infinity is the largest number, as both have no other.

    Raises:
        ValueError: it is not a number.
    """
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    if not isinstance(value, np.floating):
        return str(int(value))
    if np.isnan(value):
        raise ValueError("A constant is not a number, which MQL5 cannot say")
    text = f"{float(np.clip(value, -_LARGEST, _LARGEST)):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
