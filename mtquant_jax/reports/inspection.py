"""Turns what lies in a run directory, checkpoint or model into lines for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from mtquant_jax.reports.wording import duration
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.inspected import KILLED, CheckpointInfo, Info, ModelInfo, Progress, RunInfo, Validation

_INDENT = 16  # columns of a label
_NARROWEST = 60


def lines(info: Info) -> Iterator[str]:
    """A heading and labelled lines, wrapped to the terminal; commands and paths stay whole."""
    width = max(shutil.get_terminal_size().columns, _NARROWEST)
    rows = _run(info) if isinstance(info, RunInfo) else _model(info) if isinstance(info, ModelInfo) else None
    for label, text in rows or _checkpoint(info):
        if not label:
            yield text
            continue
        first, rest = f"  {label:<{_INDENT}}", " " * (_INDENT + 2)
        if label in ("resume", "evaluate"):  # to be copied in one piece
            yield first + text
            continue
        wrapped = textwrap.wrap(text, width - len(rest), break_long_words=False, break_on_hyphens=False)
        yield from (prefix + line for prefix, line in zip((first, *[rest] * len(wrapped)), wrapped, strict=False))


def _run(info: RunInfo) -> Iterator[tuple[str, str]]:
    state = "its process is gone (killed, or cut off)" if info.state == KILLED else info.state
    yield "", f"{info.kind} {info.run_id} in {info.path}: {state}"
    if info.market:
        yield "market", info.market
    yield from _identity(info.identity)
    seed = "" if info.seed is None else f", seed {info.seed}"
    phases = ", ".join(map(str, info.phases))
    yield "training", f"phases {phases}{seed}{', quick test' if info.identity.quick_test else ''}"
    sessions = f" in {info.sessions} sessions" if info.sessions > 1 else ""
    yield "started", f"{datetime.fromisoformat(info.started):%Y-%m-%d %H:%M:%S}{sessions}"
    if info.seconds is not None:
        yield "trained for", duration(info.seconds)
    yield from _made_with(info.device, info.versions)
    if info.code is not None:
        changed = ", with changes that are not committed" if info.code.changed else ""
        yield "code", f"commit {info.code.commit[:12]}{changed}"
    if info.tags:
        yield "tags", ", ".join(info.tags)
    if info.flags is not None:
        yield "flags", " ".join(f"--{name.replace('_', '-')} {value}" for name, value in info.flags.items())
        yield "folds done", f"{len(info.folds_done or ())} of {info.flags.get('folds')}"
    yield from _progress(info.progress)
    if info.verdict:
        on = f"{info.evaluated_on}: " if info.evaluated_on else ""
        yield "verdict", on + info.verdict
    elif info.kind == "training":
        yield "verdict", "none; it has not been evaluated"
    if info.resume:
        yield "resume", info.resume
    if info.evaluate:
        yield "evaluate", info.evaluate


def _progress(progress: Sequence[Progress]) -> Iterator[tuple[str, str]]:
    before = None
    for found in progress:
        place = f"fold {found.fold} phase {found.phase}" if found.fold else f"phase {found.phase}"
        name = f"{found.agent}, seed {found.seed}" if found.seed is not None else found.agent
        yield place if place != before else f"{'':<{len(place)}}", f"{name}: {_how_far(found)}"
        before = place
        for problem in found.damaged:
            yield f"{'':<{len(place)}}", f"warning: {problem}"


def _how_far(found: Progress) -> str:
    if found.total_timesteps is None:
        return "no checkpoint yet"
    text = f"{found.timesteps:,}/{found.total_timesteps:,} timesteps" if found.total_timesteps else "nothing to learn"
    if found.best_timesteps is None or found.validation is None:
        return text
    return f"{text}; best {_after(found.best_timesteps)}: validation {_validation(found.validation)}"


def _after(timesteps: int) -> str:
    return f"after {timesteps:,}" if timesteps else "as it began"


def _checkpoint(info: Info) -> Iterator[tuple[str, str]]:
    assert isinstance(info, CheckpointInfo)
    yield "", f"checkpoint of {info.agent} in phase {info.phase}: {info.path}"
    yield "timesteps", f"{info.timesteps:,}/{info.total_timesteps:,}"
    if info.best_timesteps is not None and info.validation is not None:
        yield "best", f"{_after(info.best_timesteps)}: validation {_validation(info.validation)}"
    yield "training", f"{info.run_id}, seed {info.seed}{', quick test' if info.identity.quick_test else ''}"
    yield from _identity(info.identity)
    yield from _made_with(info.device, info.versions)
    yield "files", f"{info.files}, {info.size_in_bytes / 1e6:.1f} MB, every byte as it was written"


def _model(info: ModelInfo) -> Iterator[tuple[str, str]]:
    yield "", f"model of the {info.agent.replace('_', '-')}: {info.path}"
    yield "symbols", " ".join(info.symbols)
    every = f", a decision every {info.interval} bars" if info.interval else ""
    yield "bars", f"{_interval(info.bar_seconds)}{every}"
    trained = f"{info.timesteps:,} timesteps" if info.timesteps else "handed on as it began"
    yield "training", f"phase {info.phase}, {trained}, seed {info.seed}"
    whose = "the portfolio" if info.phase > 1 else "the specialist alone"
    yield "validation", f"of {whose}: {_validation(info.validation)}"
    yield "network", f"{info.num_parameters:,} numbers, hidden size {info.hidden_size}"
    if info.identity is not None:
        yield from _identity(info.identity)
    yield from _made_with(None, info.versions)


def _identity(identity: Identity) -> Iterable[tuple[str, str]]:
    yield "splits", "; ".join(f"{name} {first} to {last}" for name, (first, last) in identity.splits.items())
    yield "identity", f"market {identity.market}, settings {identity.settings}"


def _made_with(device: str | None, versions: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    if device:
        yield "device", device
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _validation(found: Validation) -> str:
    if found.sharpe is None or found.sharpe_standard_error is None:
        return "flat"
    return (
        f"Sharpe {found.sharpe:+.2f} ± {found.sharpe_standard_error:.2f}, "
        f"return {100 * found.total_return:+.2f} %, drawdown {100 * found.max_drawdown:.2f} %"
    )


def _interval(seconds: int) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return f"1 {unit}" if seconds == size else f"{seconds // size} {unit}s"
    return f"{seconds} seconds"
