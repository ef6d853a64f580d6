"""Every setting of a training: frozen dataclasses with units, from which the command line and the YAML are checked.

Static sizes (environments, steps, layers) decide what compiles; every other number is traced.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

ScenarioName = Literal[
    "neutral",
    "low_volatility",
    "trending",
    "ranging",
    "high_volatility",
    "crisis",
    "correlation_breakdown",
    "sector_rotation",
    "macro_events",
    "edge_regimes",
]
ObjectiveName = Literal["log_growth", "mean_variance", "differential_sharpe"]


@dataclasses.dataclass(frozen=True)
class SpecialistConfig:
    """One asset class and how its specialist learns."""

    symbols: tuple[str, ...] = ()
    """Instruments of the class; each belongs to one class only."""
    domain: Literal["generic", "forex", "commodities", "equity"] = "generic"
    """Which domain features describe the class."""
    learning_rate: float = 1e-3
    """Adam step size at the start of phase 1."""
    batch_size: int = 500
    """Timesteps per PPO minibatch; must divide num-envs x num-steps. Lower it to lower memory."""
    exploration_cost: float = 0.04
    """What an instrument's exploration costs per bar at the start of phase 1, in per-bar volatilities of its full
    position. With the market's costs it gives the scale of trades that actions are made in."""


@dataclasses.dataclass(frozen=True)
class MetaControllerConfig:
    """The agent that gives the specialists capital and sets the risk appetite (phase 2)."""

    learning_rate: float = 1e-3
    """Adam step size at the start of phase 2."""
    batch_size: int = 500
    """Decisions per PPO minibatch; must divide num-envs x num-steps."""
    interval: int = 8
    """Bars between two decisions of the meta-controller."""


@dataclasses.dataclass(frozen=True)
class JointTrainingConfig:
    """Fine-tuning of the whole hierarchy (phase 3)."""

    learning_rate: float = 5e-4
    """Adam step size of all agents at the start of phase 3; lower than in phase 1."""
    batch_size: int = 500
    """Timesteps per PPO minibatch; must divide num-envs x num-steps."""
    individual_weight: float = 0.5
    """Weight of a specialist's gradient towards its own class's profit."""
    coordination_weight: float = 0.5
    """Weight of a specialist's gradient towards the portfolio's profit."""
    project_conflicts: bool = True
    """Project a specialist's two gradients onto each other's normal plane where they conflict (PCGrad)."""
    specialist_update_interval: int = 1
    """The meta-controller learns in every update, the specialists in every n-th."""
    leash: float = 0.01
    """Weight of the KL divergence from the phase 1 policy in a specialist's loss."""


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation, shared by the three phases."""

    num_epochs: int = 6
    """Passes over each rollout."""
    gamma: float = 0.98
    """Discount per bar."""
    gae_lambda: float = 0.9
    """Decay of generalised advantage estimation, per decision."""
    clip_range: float = 0.3
    """Clip of the probability ratio."""
    value_clip_range: float = 0.0
    """Clip of the value change in units of value; 0 is off."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = 2.0
    """Global norm at which an agent's gradient is clipped."""
    weight_decay: float = 1.0
    """Pull of the networks' kernels towards zero, per unit of learning rate (AdamW); 0 is off."""
    target_kl: float = 0.0
    """Approximate KL divergence at which an update stops early; 0 is off."""
    anneal_learning_rate: bool = True
    """Lower the learning rate linearly to zero over the phase."""
    initial_log_std: float = 0.0
    """Logarithm of the exploration noise at the start, in units of action."""
    hidden_size: int = 64
    """Width of the hidden layers."""


@dataclasses.dataclass(frozen=True)
class MarginLeverageConfig:
    """Leverage the account is given, by margin class; 0 keeps the instruments' own margin rates."""

    forex: float = 0.0
    """Currency pairs; 30 holds 1/30 of the notional as margin."""
    metals: float = 0.0
    """Gold and other metals."""
    energy: float = 0.0
    """Oil and gas."""
    indices: float = 0.0
    """Equity indices."""


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """The account and the episode."""

    account_currency: str = "USD"
    """Currency of equity, costs and reports."""
    initial_capital: float = 100_000.0
    """Starting equity in account currency; training is relative to it."""
    episode_length: int = 500
    """Bars per training episode."""
    leverage: float = 1.0
    """Gross exposure a class may reach, as a multiple of its budget; shared equally by its instruments."""
    trade_decay: float = 0.1
    """Share of the relative weight that is given up per bar before the action is added."""
    stop_out_level: float = 0.5
    """Margin level (equity / margin) under which the broker closes everything."""
    ruin_level: float = 0.2
    """Equity, as a share of initial capital, at which an episode ends in ruin."""
    cost_multiplier: float = 1.0
    """Multiplies spread, commission, slippage, impact and swap (0 trades for free)."""
    impact: float = 0.0
    """Lambda of the quadratic market impact, lambda / 2 x variance of the weight change per bar; 0 is none."""
    margin_leverage: MarginLeverageConfig = MarginLeverageConfig()
    broker_clock: str = "NewYork+7"
    """Time zone whose midnight ends the trading day, when swap is charged and the day's loss begins anew: an IANA name,
    or NewYork+7 (the day ends at 17:00 in New York)."""


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """What a specialist is paid per bar (phases 1 and 3)."""

    objective: ObjectiveName = "log_growth"
    """What is paid for: growth, return less its variance, or what the bar does to the Sharpe ratio."""
    risk_aversion: float = 1.0
    """Gamma of the mean-variance objective."""
    sharpe_memory: int = 100
    """Bars over which the moments of the differential Sharpe ratio decay."""


@dataclasses.dataclass(frozen=True)
class PortfolioRewardConfig(RewardConfig):
    """What the portfolio is paid per bar (phases 2 and 3): an objective and weighted terms; a weight of 0 is off."""

    objective: ObjectiveName = "differential_sharpe"
    """What is paid for: growth, return less its variance, or what the bar does to the Sharpe ratio."""
    sharpe_memory: int = 400
    """Bars over which the moments of the differential Sharpe ratio decay."""
    var_weight: float = 0.0
    """Penalty on the value at risk of a bar, at risk.var-confidence."""
    drawdown_weight: float = 0.0
    """Penalty on what the bar adds to the largest drawdown of the episode."""
    turnover_weight: float = 0.0
    """Cost per unit of value traded, beyond those that the account is charged."""
    diversification_weight: float = 0.0
    """Bonus of a bar whose positions' risks cancel out entirely; most books earn a part of it."""


@dataclasses.dataclass(frozen=True)
class RiskConfig:
    """The risk layer between policies and orders; 0 switches a limit off. Presets are in configs/risk.yaml."""

    instrument_limit: float = 0.40
    """Exposure of one instrument, as a share of equity."""
    class_limit: float = 0.40
    """Gross exposure of one class, as a share of equity (of the portfolio; a specialist alone is its class)."""
    correlation_threshold: float = 0.70
    """Correlation from which two positions that add to each other count as the same bet."""
    correlation_limit: float = 0.40
    """Gross exposure of positions that are the same bet, as a share of equity."""
    gross_limit: float = 1.20
    """Gross exposure of the whole book, as a share of equity."""
    margin_limit: float = 0.50
    """Margin held, as a share of equity."""
    var_limit: float = 0.02
    """Value at risk of a day, as a share of equity."""
    var_confidence: float = 0.95
    """Confidence of the value at risk."""
    halving_loss: float = 0.05
    """Loss of the day, as a share of the equity it began with, from which sizes are halved."""
    reduction_loss: float = 0.10
    """Loss of the day from which positions may only shrink."""
    flattening_loss: float = 0.15
    """Loss of the day from which everything is closed until the next day."""


@dataclasses.dataclass(frozen=True)
class MarketConfig:
    """Where bars come from and how they are split."""

    num_paths: int = 16
    """Synthetic market: independent paths."""
    num_bars: int = 6000
    """Synthetic market: hourly bars per path."""
    edge: float = 0.12
    """Synthetic market: standard deviation of the hidden drift, in per-bar volatilities; 0 is a driftless market."""
    calibration: str = ""
    """Synthetic market: YAML file from `mtquant-jax data calibrate`; empty: the shipped configs/synthetic.yaml."""
    scenario: ScenarioName = "neutral"
    """Synthetic market: conditions that the whole market is drawn under (docs/synthetic_market.md)."""
    start: str = ""
    """First bar used, UTC, as YYYY-MM-DD; empty: as early as all instruments allow."""
    end: str = ""
    """Bars before this date are used, UTC, as YYYY-MM-DD; empty: as late as all instruments allow."""
    train_fraction: float = 0.70
    """Share of the bars used for training."""
    validation_fraction: float = 0.15
    """Share of the bars used to choose checkpoints; the rest is the test split."""
    gap_bars: int = 250
    """Bars left out between two splits; no shorter than the longest look-back of the features."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train the hierarchy of trading agents in three phases."""

    phase1_timesteps: int = 100_000
    """Decisions per specialist in phase 1."""
    phase2_timesteps: int = 50_000
    """Decisions of the meta-controller in phase 2."""
    phase3_timesteps: int = 50_000
    """Decisions of the hierarchy in phase 3."""
    parallel: bool = False
    """Train the specialists of phase 1 in one vmapped program."""
    curriculum: bool = False
    """Synthetic market: train on all stress scenarios, easy ones first and those that go badly more often."""
    save_freq: int = 10_000
    """Timesteps between two checkpoints (each is evaluated on the validation split)."""
    phases: str = "1,2,3"
    """Phases to run, in order; 2 needs the results of 1, and 3 of both, in the run directory."""
    quick_test: bool = False
    """A few seconds of everything: 1000, 500 and 500 timesteps with few environments."""
    data_dir: str = ""
    """Directory of bar files, one per symbol; empty: the embedded synthetic market."""
    instruments: str = ""
    """YAML of contract specifications laid over the shipped configs/instruments.yaml; empty: the shipped ones alone."""
    risk_preset: str = "default"
    """Preset of configs/risk.yaml that the risk limits start from: default, prop_firm or off."""
    broker_timezone: str = "UTC"
    """Clock of bar files whose stamps have no offset: an IANA zone such as Europe/Helsinki, or NewYork+7."""
    timeframe: Literal["files", "M1", "M5", "M15", "M30", "H1", "H4", "D1"] = "files"
    """Bars to trade on, made from those of the files; files: as they are there."""
    run_dir: str = "."
    """Directory that receives logs, models and metrics."""
    seed: int = 0
    """Seed of the whole training."""
    num_envs: int = 125
    """Parallel episodes."""
    num_steps: int = 16
    """Decisions per episode between two updates."""
    specialists: dict[str, SpecialistConfig] = dataclasses.field(default_factory=dict)
    meta_controller: MetaControllerConfig = MetaControllerConfig()
    joint_training: JointTrainingConfig = JointTrainingConfig()
    ppo: PPOConfig = PPOConfig()
    simulation: SimulationConfig = SimulationConfig()
    reward: RewardConfig = RewardConfig()
    portfolio_reward: PortfolioRewardConfig = PortfolioRewardConfig()
    risk: RiskConfig = RiskConfig()
    market: MarketConfig = MarketConfig()

    def timesteps(self, phase: int) -> int:
        """Decisions that a phase is asked for: of each specialist, of the meta-controller, of the hierarchy."""
        return (self.phase1_timesteps, self.phase2_timesteps, self.phase3_timesteps)[phase - 1]
