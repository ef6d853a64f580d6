"""Trains specialists on markets with a known answer, made of the user's own bars."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Literal

from mtquant_jax.backtest.performance import Performance
from mtquant_jax.market.controls import shuffled, with_oracle
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import plan_specialist
from mtquant_jax.training.trainer import train_phases
from mtquant_jax.training.validation import Validator

MarketName = Literal["as it is", "oracle", "shuffled"]
Verdict = Literal["exploited", "NOT LEARNT", "nothing found", "LEAK", "pays for nothing", "TOO GOOD", ""]

ERRORS = 3.0
"""Standard errors from which a difference is not called chance: with a handful of classes, once in hundreds of runs."""

TOO_GOOD = 5.0
"""Annual Sharpe ratio, less the errors, above which no specialist on real bars is believed."""


@dataclasses.dataclass(frozen=True)
class Controlled:
    """A specialist on one market, on the validation split."""

    class_name: str
    market: MarketName
    performance: Performance
    verdict: Verdict  # empty where nothing is known in advance

    @property
    def failed(self) -> bool:
        """Whether the set-up cannot be trusted."""
        return self.verdict in ("NOT LEARNT", "LEAK", "TOO GOOD")


def run_controls(config: TrainConfig, market: Market, compiler: Compiler) -> Iterator[Controlled]:
    """Train phase 1 on the market as it is, with an oracle, and shuffled; class by class of each as they are done.

    The last policies are judged, for a checkpoint that is chosen on the split that it is judged on would flatter.

    Args:
        config: all settings of the trainings.
        market: prepared of them.
        compiler: keeps compiled programs; the three markets share all of them.
    """
    before: dict[str, Performance] = {}
    markets: dict[MarketName, functools.partial[Market]] = {
        "as it is": functools.partial(dataclasses.replace, market),
        "oracle": functools.partial(dataclasses.replace, market, table=with_oracle(market.table)),
        "shuffled": functools.partial(
            prepare_market, config, bars=market.given, change=functools.partial(shuffled, seed=config.seed)
        ),
    }
    for name, make in markets.items():
        changed = make()
        (trained,) = train_phases(config, changed, phases=(1,), compiler=compiler, validate=False)
        validator = Validator(config, changed, compiler)
        for i, asset_class in enumerate(changed.universe.classes):
            plan = plan_specialist(config, changed, i)
            found = validator.specialist(plan, asset_class.symbols, trained.policies.specialists[i]).performance
            before.setdefault(asset_class.name, found)
            is_real = bool(config.data_dir) or market.given is not None
            yield Controlled(asset_class.name, name, found, verdict_of(name, found, before[asset_class.name], is_real))


def verdict_of(market: MarketName, found: Performance, as_it_is: Performance, is_real: bool = True) -> Verdict:
    """What a result says of the set-up.

    Args:
        market: on which it was reached.
        found: the result.
        as_it_is: that of the same class on the market as it is.
        is_real: whether its bars are real ones; the synthetic market has an edge to be found.
    """
    sharpe, error = found.sharpe or 0.0, found.sharpe_standard_error or 0.0
    if market == "oracle":
        gain = sharpe - (as_it_is.sharpe or 0.0)
        noise = math.hypot(error, as_it_is.sharpe_standard_error or 0.0)
        return "exploited" if sharpe > ERRORS * error and gain > ERRORS * noise else "NOT LEARNT"
    if market == "shuffled":
        if sharpe > ERRORS * error:
            return "LEAK"
        return "pays for nothing" if sharpe < -ERRORS * error else "nothing found"
    return "TOO GOOD" if is_real and sharpe - ERRORS * error > TOO_GOOD else ""
