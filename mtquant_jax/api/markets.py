"""Settings, and the markets that they describe or that bars are made into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtquant_jax.api.session import keep_compiled_programs, log
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.market.traded import with_symbols
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import override_config
from mtquant_jax.types import Bars


def load_config(path: str | Path | None = None, /, **overrides: Any) -> TrainConfig:
    """Settings of a training: overrides over a YAML file over the shipped configs/agents.yaml.

    Args:
        path: a YAML file, which need only hold what differs; None: the shipped settings.
        overrides: by name, or by dotted key as in ``load_config(quick_test=True, **{"ppo.gamma": 0.99})``.
            ``specialists`` replaces all asset classes, ``specialists.NAME.KEY`` changes or adds one.
            ``symbols`` leaves the classes with these instruments and finds one for others.

    Raises:
        UserError: a key does not exist (the message names the nearest one) or a value is wrong.
    """
    return with_symbols(override_config(path, overrides))


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
    keep_compiled_programs()
    market = prepare_market(config, bars=bars)
    log(notice for notice in market.notices if bars is None or notice not in bars.notices)
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
