"""The Python API, `import mtquant_jax as mt`: bars in, settings, training, finished runs and environments out.

What a user should know of bars and markets is logged as warnings of the logger ``mtquant_jax`` and stands in their
``notices``. Everything that is wrong with an input is a `UserError`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market import frames
from mtquant_jax.market.bars import loading
from mtquant_jax.market.bars.directory import symbols_in
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import override_config
from mtquant_jax.types import Bars

if TYPE_CHECKING:
    import pandas as pd

bars_frame = frames.bars_frame

_LOG = logging.getLogger("mtquant_jax")


def load_bars(
    source: str | Path | Mapping[str, pd.DataFrame | np.ndarray],
    symbols: Sequence[str] = (),
    *,
    start: str = "",
    end: str = "",
    broker_timezone: str = "UTC",
    timeframe: Literal["files", "M1", "M5", "M15", "M30", "H1", "H4", "D1"] = "files",
    instruments: str | Path | None = None,
) -> Bars:
    """Load bars onto one clock, from bar files or from DataFrames; both pass the same checks.

    Args:
        source: a directory of bar files, or DataFrames by symbol. What ``MetaTrader5.copy_rates_range`` returns is
            taken as it is, as an array or as a DataFrame.
        symbols: N names; empty: all that the source has bars of.
        start: first day, UTC, as YYYY-MM-DD; empty: as early as all symbols allow.
        end: the day after the last, UTC; empty: as late as all symbols allow.
        broker_timezone: clock of stamps without an offset, MetaTrader's among them: an IANA zone such as
            Europe/Helsinki, or NewYork+7.
        timeframe: bars to make from those of the source; "files" keeps them.
        instruments: YAML of contract specifications laid over the shipped ones.

    Returns:
        Bars of one path, arrays ``[1, T, N]`` float64, with notices.

    Raises:
        UserError: a row, a frame, a file or a symbol is wrong; the message names it.
    """
    specifications = load_instruments(None if instruments is None else Path(instruments))
    options = start, end, broker_timezone, timeframe
    if isinstance(source, Mapping):
        bars, notices = frames.load_frames(source, symbols, specifications, *options)
    else:
        folder = Path(source)
        bars, notices = loading.load_bars(
            folder, symbols or symbols_in(folder, specifications), specifications, *options
        )
    _log(notices)
    return dataclasses.replace(bars, notices=tuple(notices))


def load_config(path: str | Path | None = None, /, **overrides: Any) -> TrainConfig:
    """Settings of a training: overrides over a YAML file over the shipped configs/agents.yaml.

    Args:
        path: a YAML file, which need only hold what differs; None: the shipped settings.
        overrides: by name, or by dotted key as in ``load_config(quick_test=True, **{"ppo.gamma": 0.99})``.
            ``specialists`` replaces all asset classes, ``specialists.NAME.KEY`` changes or adds one.

    Raises:
        UserError: a key does not exist (the message names the nearest one) or a value is wrong.
    """
    return override_config(path, overrides)


def prepare(config: TrainConfig, bars: Bars | None = None) -> Market:
    """Compute all that agents see of a market, and split it into training, validation and test.

    Args:
        config: the settings.
        bars: of `load_bars`, of the specialists' symbols and perhaps others; None: those of ``config.data_dir``, or
            the synthetic market.

    Raises:
        UserError: a setting is wrong or does not go with the bars, which may also be too few.
    """
    validate(config)
    if bars is not None:
        _check_bars_may_be_given(config)
    market = prepare_market(config, bars=bars)
    _log(notice for notice in market.notices if bars is None or notice not in bars.notices)
    return market


def _check_bars_may_be_given(config: TrainConfig) -> None:
    """Refuse settings of the synthetic market and of files, whose place bars given in Python take."""
    usual = TrainConfig()
    for key, value, default in (
        ("curriculum", config.curriculum, usual.curriculum),
        ("market.scenario", config.market.scenario, usual.market.scenario),
        ("market.calibration", config.market.calibration, usual.market.calibration),
        ("timeframe", config.timeframe, usual.timeframe),
    ):
        if value != default:
            raise UserError(f"`{key}` {value}: bars given in Python take the place of those that it describes")


def _log(notices: Iterable[str]) -> None:
    for notice in notices:
        _LOG.warning("%s", notice)
