"""The evidence for what is handed on, in sentences."""

from __future__ import annotations

from mtquant_jax.backtest.evidence import Ahead, Evidence, Reading

_ANCHORS = {
    "flat": "a flat account",
    "equal_weight": "equal weights",
    "inverse_volatility": "inverse volatility",
    "buy_and_hold": "buy and hold",
}


def describe_evidence(found: Evidence, phase: int, anchor: str, last: int) -> list[str]:
    """What is handed on and why, and how far it did better on the bars that it was trained on.

    Args:
        found: of one training.
        phase: that it was of.
        anchor: name of the anchor.
        last: timesteps of the training.
    """
    whose = _ANCHORS[anchor]
    if phase == 1:
        where = f"{found.folds} folds and the validation split" if found.folds else "the validation split"
        lead = f"on unseen bars ({where}) {_ahead(found.ahead, whose)}"
        mean = f" (the mean of {found.policies} policies)" if found.policies > 1 and found.tilt > 0.0 else ""
        return [f"{lead}: {_share(found.tilt, whose)}{mean}", _gap(found)]
    mean = "the mean of the starting point and the last policy" if found.policies > 1 else "the last policy"
    usual = {last: mean, 0: "the starting point"}
    chosen = usual.get(found.timesteps, f"the policy after {found.timesteps:,} timesteps")
    return [f"{chosen} is handed on, on the validation split {_ahead(found.ahead, whose)}", _gap(found)]


def evidence_numbers(found: Evidence) -> dict[str, float | None]:
    """The same as named numbers for curves."""
    numbers = {
        "unseen/train_sharpe": None if found.train is None else found.train.sharpe,
        "unseen/out_of_fold_sharpe": None if found.out_of_fold is None else found.out_of_fold.sharpe,
        "unseen/validation_sharpe": found.validation.sharpe,
        "unseen/ahead_of_anchor_per_year": found.ahead.per_year,
        "unseen/standard_errors_ahead": found.ahead.ratio,
        "unseen/tilt": found.tilt,
    }
    return {name: number for name, number in numbers.items() if number is not None}


def _ahead(found: Ahead, whose: str) -> str:
    if found.standard_error == 0.0:
        return f"the same as {whose}"
    where = "ahead of" if found.per_year >= 0.0 else "behind"
    return f"{where} {whose} by {100 * abs(found.per_year):.1f} ± {100 * found.standard_error:.1f} % a year"


def _share(tilt: float, whose: str) -> str:
    if tilt == 0.0:
        return f"no evidence of an edge, so it is handed on as {whose}"
    return "all of its tilt is handed on" if tilt == 1.0 else f"{100 * tilt:.0f} % of its tilt is handed on"


def _gap(found: Evidence) -> str:
    parts = [] if found.train is None else [f"{_sharpe(found.train)} on bars it was trained on"]
    if found.out_of_fold is not None:
        parts.append(f"{_sharpe(found.out_of_fold)} on the same bars without having been")
    parts.append(f"{_sharpe(found.validation)} on the validation split")
    return "Sharpe " + ", ".join(parts)


def _sharpe(found: Reading) -> str:
    if found.sharpe is None or found.sharpe_standard_error is None:
        return "none (flat)"
    return f"{found.sharpe:+.2f} ± {found.sharpe_standard_error:.2f}"
