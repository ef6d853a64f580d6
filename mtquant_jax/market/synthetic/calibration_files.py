"""Turns a YAML file into a calibration of the synthetic market, and a calibration into YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.settings.yaml_text import brief, read_yaml

# Permitted range of each key, both ends included.
_GLOBAL = {
    "turbulent_entry": (0.0, 1.0),
    "turbulent_exit": (0.0, 1.0),
}
_NUMBERS = {
    "hourly_volatility": (1e-7, 1.0),
    "start_price": (1e-6, 1e9),
    "tail_dof": (2.1, 1000.0),
    "jump_rate": (0.0, 0.5),
    "jump_size": (0.0, 50.0),
    "fast_persistence": (0.0, 0.9999),
    "fast_volatility": (0.0, 2.0),
    "slow_persistence": (0.0, 0.9999),
    "slow_volatility": (0.0, 2.0),
    "turbulence": (-3.0, 3.0),
    "open_gap": (0.0, 0.9),
    "break_gap": (0.0, 50.0),
    "weekend_gap": (0.0, 50.0),
    "median_volume": (0.0, 1e12),
}
_MATRICES = ("correlations", "turbulent_correlations", "extreme_correlations", "volatility_correlations")
_COMMAND = "mtquant-jax data calibrate"


def load_calibration(path: Path | None = None) -> dict[str, Any]:
    """Load a calibration as `calibrate` returns it; None reads the shipped configs/synthetic.yaml.

    Raises UserError, which names file and key, for a value that is missing, not a number or out of range.
    """
    path = shipped("synthetic.yaml") if path is None else Path(path)
    content = read_yaml(path)
    for key in (*_GLOBAL, "instruments", *_MATRICES):
        if key not in content:
            raise UserError(f"{path} lacks the key {key}; write it with {_COMMAND}")
    for key, limits in _GLOBAL.items():
        _check(f"{path}: {key}", content[key], limits)
    instruments = content["instruments"]
    if not isinstance(instruments, Mapping) or not instruments:
        raise UserError(f"{path}: instruments must hold a group of numbers for each symbol")
    for symbol, numbers in instruments.items():
        if not isinstance(numbers, Mapping):
            raise UserError(f"{path}: {symbol} must be a group of numbers; found {brief(numbers)}")
        for key, limits in _NUMBERS.items():
            _check(f"{path}: {symbol}: {key}", numbers.get(key), limits)
        profile = numbers.get("hour_profile")
        if not isinstance(profile, list) or len(profile) != 24:
            raise UserError(f"{path}: {symbol}: hour_profile must have 24 numbers, one per UTC hour")
        for value in profile:
            _check(f"{path}: {symbol}: hour_profile", value, (0.0, 100.0))
    for key in _MATRICES:
        _check_matrix(path, key, content[key], len(instruments))
    return content


def _check(where: str, value: Any, limits: tuple[float, float]) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise UserError(f"{where} must be a number; found {brief(value)}")
    if not limits[0] <= value <= limits[1]:
        raise UserError(f"{where} must be from {limits[0]:g} to {limits[1]:g}; found {brief(value)}")


def _check_matrix(path: Path, key: str, rows: Any, size: int) -> None:
    try:
        matrix = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (size, size):
        raise UserError(f"{path}: {key} must have a row and a column per instrument, {size} of each")
    good = np.isfinite(matrix).all() and np.allclose(matrix, matrix.T) and np.all(np.abs(matrix) <= 1.0)
    if not good or not np.allclose(np.diag(matrix), 1.0):
        raise UserError(f"{path}: {key} must be symmetric, with ones on the diagonal and all else between -1 and 1")


def calibration_yaml(calibration: Mapping[str, Any], source: str) -> str:
    """Format a calibration as YAML text, rounded to four significant digits, with a comment that names its source."""

    def plain(value: float) -> str:
        return f"{float(f'{value:.4g}'):.10g}"

    lines = [
        f"# Calibration of the synthetic market, measured from {source}",
        f"# by {_COMMAND}. Meaning and units: docs/synthetic_market.md.",
        *(f"{key}: {plain(calibration[key])}" for key in _GLOBAL),
        "instruments:",
    ]
    for symbol, numbers in calibration["instruments"].items():
        lines.append(f"  {symbol}:")
        lines += [f"    {key}: {plain(numbers[key])}" for key in _NUMBERS]
        profile = [plain(value) for value in numbers["hour_profile"]]
        lines.append(f"    hour_profile: [{', '.join(profile[:12])},")
        lines.append(f"                   {', '.join(profile[12:])}]")
    order = f"  # rows and columns in the order {', '.join(calibration['instruments'])}"
    for key in _MATRICES:
        lines.append(f"{key}:{order}")
        lines += [f"  - [{', '.join(f'{value:.3f}' for value in row)}]" for row in calibration[key]]
    return "\n".join(lines) + "\n"
