"""A market -> environments for trainers: of gymnax, and of gymnasium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mtquant_jax.api.session import keep_compiled_programs
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.flat_env import FlatEnv, flat_portfolio, flat_specialist
from mtquant_jax.simulation.market_env import MarketParams
from mtquant_jax.simulation.market_params import class_params, portfolio_params
from mtquant_jax.training.phases import hierarchy_env, specialist_env
from mtquant_jax.training.trainer import PORTFOLIO

if TYPE_CHECKING:
    from mtquant_jax.simulation.gymnasium_env import GymnasiumEnv

Split = Literal["train", "validation", "test"]


def make_env(
    market: Market, name: str, *, config: TrainConfig | None = None, split: Split = "train"
) -> tuple[FlatEnv, MarketParams]:
    """A gymnax environment of an asset class or of the portfolio, and its parameters.

    Observations and actions are vectors with finite bounds; ``env.env`` is the environment inside, with the compact
    observations that training in this package uses. Whatever changes from market to market is in the parameters, so
    that one compiled program serves all markets of a shape.

    Args:
        market: of `prepare`.
        name: an asset class, such as ``"forex"``, or ``"portfolio"`` for all of them and the meta-controller.
        config: the settings of account, costs, risk and reward; None: those that the market was prepared with.
        split: the bars in which episodes lie.

    Raises:
        UserError: there is no such class.
    """
    config = config or market.settings
    if config is None:
        raise UserError("This market was not prepared with settings; give config")
    keep_compiled_programs()
    universe = market.universe
    if name == PORTFOLIO:
        mask = tuple(tuple(row) for row in universe.mask.tolist())
        return flat_portfolio(hierarchy_env(config), mask), portfolio_params(config, market, split)
    names = [asset_class.name for asset_class in universe.classes]
    if name not in names:
        raise UserError(f"There is no environment {name}; there are {', '.join(names)} and {PORTFOLIO}")
    index = names.index(name)
    env = flat_specialist(specialist_env(config.reward.objective), len(universe.classes[index].symbols))
    return env, class_params(config, market, index, split)


def make_gymnasium(
    market: Market, name: str, *, config: TrainConfig | None = None, split: Split = "train"
) -> GymnasiumEnv:
    """The environment of `make_env` with the gymnasium interface, stepped on the CPU; arguments as there.

    Raises:
        UserError: there is no such class, or gymnasium is not installed.
    """
    try:
        from mtquant_jax.simulation.gymnasium_env import GymnasiumEnv
    except ImportError:
        raise UserError("make_gymnasium needs the package gymnasium; pip install gymnasium") from None
    return GymnasiumEnv(*make_env(market, name, config=config, split=split))
