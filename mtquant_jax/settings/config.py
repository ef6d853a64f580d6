"""Every setting of a training: frozen dataclasses whose fields say their range, unit, and what a change compiles.

The text below a field is its help. `mtquant_jax.settings.fields` reads all of it, for checks, help and documentation.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from mtquant_jax.settings.fields import Data, Host, Range, Static, Traced, Unit

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
DomainName = Literal["generic", "forex", "commodities", "equity"]
NetworkName = Literal["dense"]
AlgorithmName = Literal["ppo", "pathwise", "pathwise_ppo"]
PhaseAlgorithmName = Literal["same", "ppo", "pathwise", "pathwise_ppo"]
AnchorName = Literal["flat", "equal_weight", "inverse_volatility", "buy_and_hold"]
PrecisionName = Literal["float32", "bfloat16"]
TiltName = Literal["evidence", "whole"]
TrackerName = Literal["none", "mlflow", "wandb"]
Timeframe = Literal["files", "M1", "M5", "M15", "M30", "H1", "H4", "D1"]
BarStamps = Literal["open", "close"]
ZeroSpread = Literal["median", "default", "keep"]
READING = (
    *("broker_timezone", "force_broker_timezone", "symbol_timezones", "bar_stamps", "symbol_bar_stamps"),
    "zero_spread",
    "allow_jumps",
)
"""Settings of `TrainConfig` that say how bar files are read, besides the period and the timeframe."""


@dataclasses.dataclass(frozen=True)
class SpecialistConfig:
    """One asset class and how its specialist learns."""

    symbols: Annotated[tuple[str, ...], Data("1 2 3 m")] = ()
    """Instruments of the class; each belongs to one class only."""
    domain: Annotated[DomainName, Data("m")] = "generic"
    """Which domain features describe the class."""
    learning_rate: Annotated[float, Range("(0, inf)"), Traced] = 1e-3
    """Adam step size at the start of phase 1."""
    batch_size: Annotated[int, Unit("timesteps"), Static("1")] = 500
    """Timesteps per PPO minibatch; must divide num_envs x num_steps. A smaller one takes less memory."""
    exploration_cost: Annotated[float, Range("(0, inf)"), Unit("volatilities"), Traced] = 0.04
    """Cost of an instrument's exploration per bar at the start of phase 1, in per-bar volatilities of its full
    position. With the market's costs it gives the scale of trades that actions are made in."""


@dataclasses.dataclass(frozen=True)
class MetaControllerConfig:
    """The agent that gives the specialists capital and sets the risk appetite (phase 2)."""

    learning_rate: Annotated[float, Range("(0, inf)"), Traced] = 1e-3
    """Adam step size at the start of phase 2."""
    batch_size: Annotated[int, Unit("decisions"), Static("2")] = 500
    """Decisions per PPO minibatch; must divide num_envs x num_steps."""
    interval: Annotated[int, Range("[1, inf)"), Unit("bars"), Static("2")] = 8
    """Bars between two decisions of the meta-controller."""


@dataclasses.dataclass(frozen=True)
class JointTrainingConfig:
    """Fine-tuning of the whole hierarchy (phase 3)."""

    learning_rate: Annotated[float, Range("(0, inf)"), Traced] = 5e-4
    """Adam step size of all agents at the start of phase 3; lower than in phase 1."""
    batch_size: Annotated[int, Unit("timesteps"), Static("3")] = 500
    """Timesteps per PPO minibatch; must divide num_envs x num_steps."""
    individual_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.5
    """Weight of a specialist's gradient towards its own class's profit."""
    coordination_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.5
    """Weight of a specialist's gradient towards the portfolio's profit."""
    project_conflicts: Annotated[bool, Traced] = True
    """Project a specialist's two gradients onto each other's normal plane where they conflict (PCGrad)."""
    specialist_update_interval: Annotated[int, Range("[1, inf)"), Unit("updates"), Traced] = 1
    """The meta-controller learns in every update, the specialists in every n-th."""
    leash: Annotated[float, Range("[0, inf)"), Traced] = 0.1
    """Weight of the KL divergence from the phase 1 policy in a specialist's loss."""


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation, shared by the three phases."""

    num_epochs: Annotated[int, Range("[1, inf)"), Unit("passes"), Static("1 2 3")] = 6
    """Passes over each rollout."""
    gamma: Annotated[float, Range("(0, 1]"), Unit("per bar"), Traced] = 0.98
    """Discount per bar."""
    gae_lambda: Annotated[float, Range("[0, 1]"), Unit("per decision"), Traced] = 0.9
    """Decay of generalised advantage estimation, per decision."""
    clip_range: Annotated[float, Range("(0, 1)"), Traced] = 0.3
    """Clip of the probability ratio."""
    value_clip_range: Annotated[float, Range("[0, inf)"), Unit("value"), Traced] = 0.0
    """Clip of the value change in units of value; 0 is off."""
    value_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.5
    """Weight of the value loss."""
    entropy_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: Annotated[float, Range("(0, inf)"), Traced] = 2.0
    """Global norm at which an agent's gradient is clipped."""
    weight_decay: Annotated[float, Range("[0, inf)"), Unit("per learning rate"), Traced] = 1.0
    """Pull of the networks' kernels towards zero, per unit of learning rate (AdamW); 0 is off."""
    max_rejected_updates: Annotated[int, Range("[0, inf)"), Unit("updates"), Host] = 3
    """Updates of a training that may be rejected, for their gradients are no numbers, before it stops as diverged."""
    target_kl: Annotated[float, Range("[0, inf)"), Unit("nats"), Traced] = 0.0
    """Approximate KL divergence at which an update stops early; 0 is off."""
    anneal_learning_rate: Annotated[bool, Traced] = True
    """Lower the learning rate linearly to zero over the phase."""
    initial_log_std: Annotated[float, Range("(-20, 3)"), Unit("log of action"), Traced] = 0.0
    """Logarithm of the exploration noise at the start, in units of action."""
    network: Annotated[NetworkName, Static("1 2 3")] = "dense"
    """Networks of all agents; Python can register others (docs/extending.md)."""
    hidden_size: Annotated[int, Range("[1, inf)"), Unit("units"), Static("1 2 3")] = 64
    """Width of the hidden layers."""
    precision: Annotated[PrecisionName, Static("1 2 3")] = "float32"
    """Of the factors that networks multiply in training; what is handed on, evaluated and exported is float32."""


@dataclasses.dataclass(frozen=True)
class PathwiseConfig:
    """Learning by the gradient through the account, shared by the three phases; networks are those of ppo."""

    learning_rate: Annotated[float, Range("(0, inf)"), Traced] = 4e-3
    """Adam step size at the start of phase 1."""
    meta_learning_rate: Annotated[float, Range("(0, inf)"), Traced] = 2e-3
    """Adam step size at the start of phase 2."""
    joint_learning_rate: Annotated[float, Range("(0, inf)"), Traced] = 1e-3
    """Adam step size of all agents at the start of phase 3."""
    num_envs: Annotated[int, Range("[1, inf)"), Unit("episodes"), Static("1 2 3")] = 32
    """Parallel episodes."""
    window: Annotated[int, Range("[1, inf)"), Unit("decisions"), Static("1 2 3")] = 32
    """Decisions per episode between two updates; the gradient is that of their rewards and is cut between windows."""
    max_grad_norm: Annotated[float, Range("(0, inf)"), Traced] = 1.0
    """Global norm at which an agent's gradient is clipped."""
    weight_decay: Annotated[float, Range("[0, inf)"), Unit("per learning rate"), Traced] = 1.0
    """Pull of the networks' kernels towards zero, per unit of learning rate (AdamW); 0 is off."""
    anneal_learning_rate: Annotated[bool, Traced] = True
    """Lower the learning rate linearly to zero over the phase."""
    ppo_share: Annotated[float, Range("(0, 1)"), Unit("share of updates"), Traced] = 0.5
    """Of pathwise_ppo: share of a phase's updates, the last ones, in which PPO learns."""


@dataclasses.dataclass(frozen=True)
class MarginLeverageConfig:
    """Leverage the account is given, by margin class; 0 keeps the instruments' own margin rates."""

    forex: Annotated[float, Range("[0, inf)"), Unit("x"), Data()] = 0.0
    """Currency pairs; 30 holds 1/30 of the notional as margin."""
    metals: Annotated[float, Range("[0, inf)"), Unit("x"), Data()] = 0.0
    """Gold, silver and other metals."""
    energy: Annotated[float, Range("[0, inf)"), Unit("x"), Data()] = 0.0
    """Oil and gas."""
    indices: Annotated[float, Range("[0, inf)"), Unit("x"), Data()] = 0.0
    """Equity indices."""
    shares: Annotated[float, Range("[0, inf)"), Unit("x"), Data()] = 0.0
    """Shares as CFDs; 5 holds 1/5 of the notional as margin."""
    crypto: Annotated[float, Range("[0, inf)"), Unit("x"), Data()] = 0.0
    """Bitcoin and other cryptocurrencies; 2 holds half of the notional as margin."""


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """The account and the episode."""

    account_currency: Annotated[str, Data("m")] = "USD"
    """Currency of equity, costs and reports."""
    initial_capital: Annotated[float, Range("(0, inf)"), Unit("currency"), Traced] = 100_000.0
    """Starting equity in account currency; training is relative to it."""
    episode_length: Annotated[int, Range("[1, inf)"), Unit("bars"), Traced] = 500
    """Bars per training episode."""
    leverage: Annotated[float, Range("(0, inf)"), Unit("x budget"), Data()] = 1.0
    """Gross exposure a class may reach, as a multiple of its budget; shared equally by its instruments."""
    trade_decay: Annotated[float, Range("[0, 1]"), Unit("share per bar"), Traced] = 0.1
    """Share of the relative weight that is given up per bar before the action is added."""
    stop_out_level: Annotated[float, Range("[0, inf)"), Unit("equity / margin"), Traced] = 0.5
    """Margin level (equity / margin) under which the broker closes everything."""
    ruin_level: Annotated[float, Range("[0, 1)"), Unit("x initial capital"), Traced] = 0.2
    """Equity, as a share of initial capital, at which an episode ends in ruin."""
    cost_multiplier: Annotated[float, Range("[0, inf)"), Traced] = 1.0
    """Multiplies spread, commission, slippage, impact and swap (0 trades for free)."""
    impact: Annotated[float, Range("[0, inf)"), Unit("lambda"), Traced] = 0.0
    """Lambda of the quadratic market impact, lambda / 2 x variance of the weight change per bar; 0 is none."""
    margin_leverage: MarginLeverageConfig = MarginLeverageConfig()
    broker_clock: Annotated[str, Unit("time zone"), Data("m")] = "NewYork+7"
    """Time zone whose midnight ends the trading day, when swap is charged and the day's loss starts at zero: an IANA
    name, or NewYork+7 (the day ends at 17:00 in New York)."""


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """The reward of a specialist per bar (phases 1 and 3)."""

    objective: Annotated[ObjectiveName, Static("1 3")] = "mean_variance"
    """What the reward is: growth, return less its variance, or the effect of the bar on the Sharpe ratio."""
    risk_aversion: Annotated[float, Range("[0, inf)"), Traced] = 0.05
    """Gamma of the mean-variance objective."""
    sharpe_memory: Annotated[int, Range("[1, inf)"), Unit("bars"), Traced] = 100
    """Bars over which the moments of the differential Sharpe ratio decay."""


@dataclasses.dataclass(frozen=True)
class PortfolioRewardConfig(RewardConfig):
    """The reward of the portfolio per bar (phases 2 and 3): an objective and weighted terms; a weight of 0 is off."""

    objective: Annotated[ObjectiveName, Static("2 3")] = "differential_sharpe"
    """What the reward is: growth, return less its variance, or the effect of the bar on the Sharpe ratio."""
    risk_aversion: Annotated[float, Range("[0, inf)"), Traced] = 1.0
    """Gamma of the mean-variance objective."""
    sharpe_memory: Annotated[int, Range("[1, inf)"), Unit("bars"), Traced] = 400
    """Bars over which the moments of the differential Sharpe ratio decay."""
    var_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.0
    """Penalty on the value at risk of a bar, at risk.var_confidence."""
    drawdown_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.0
    """Penalty on the growth of the episode's maximum drawdown."""
    turnover_weight: Annotated[float, Range("[0, inf)"), Unit("per value"), Traced] = 0.0
    """Cost per unit of value traded, beyond those that the account is charged."""
    diversification_weight: Annotated[float, Range("[0, inf)"), Traced] = 0.0
    """Bonus of a bar on which the risks of the positions cancel out entirely; most books earn a part of it."""


@dataclasses.dataclass(frozen=True)
class RiskConfig:
    """The risk layer between policies and orders; 0 switches a limit off. Presets are in configs/risk.yaml."""

    instrument_limit: Annotated[float, Range("[0, inf)"), Unit("x equity"), Traced] = 0.40
    """Exposure of one instrument, as a share of equity."""
    class_limit: Annotated[float, Range("[0, inf)"), Unit("x equity"), Traced] = 0.40
    """Gross exposure of one class, as a share of equity (of the portfolio; a specialist alone is its class)."""
    correlation_threshold: Annotated[float, Range("[0, 1]"), Traced] = 0.70
    """Correlation from which two positions that add to each other count as one bet."""
    correlation_limit: Annotated[float, Range("[0, inf)"), Unit("x equity"), Traced] = 0.40
    """Gross exposure of positions that are one bet, as a share of equity."""
    gross_limit: Annotated[float, Range("[0, inf)"), Unit("x equity"), Traced] = 1.20
    """Gross exposure of the whole book, as a share of equity."""
    margin_limit: Annotated[float, Range("[0, inf)"), Unit("x equity"), Traced] = 0.50
    """Margin held, as a share of equity."""
    var_limit: Annotated[float, Range("[0, inf)"), Unit("x equity"), Traced] = 0.02
    """Value at risk of a day, as a share of equity."""
    var_confidence: Annotated[float, Range("(0.5, 1)"), Traced] = 0.95
    """Confidence of the value at risk."""
    halving_loss: Annotated[float, Range("[0, 1)"), Unit("of the day"), Traced] = 0.05
    """Loss of the day, as a share of the equity it began with, from which sizes are halved."""
    reduction_loss: Annotated[float, Range("[0, 1)"), Unit("of the day"), Traced] = 0.10
    """Loss of the day from which positions may only shrink."""
    flattening_loss: Annotated[float, Range("[0, 1)"), Unit("of the day"), Traced] = 0.15
    """Loss of the day from which everything is closed until the next day."""


@dataclasses.dataclass(frozen=True)
class MarketConfig:
    """Where bars come from and how they are split."""

    num_paths: Annotated[int, Range("[1, inf)"), Unit("paths"), Data("1 2 3 m")] = 16
    """Synthetic market: independent paths."""
    num_bars: Annotated[int, Range("[1, inf)"), Unit("hours"), Data("1 2 3 m")] = 6000
    """Synthetic market: hourly bars per path."""
    edge: Annotated[float, Range("[0, inf)"), Unit("volatilities"), Data()] = 0.12
    """Synthetic market: standard deviation of the hidden drift, in per-bar volatilities; 0 is a driftless market."""
    calibration: Annotated[str, Unit("file"), Data("m")] = ""
    """Synthetic market: YAML file from `mtquant-jax data calibrate`; empty: the shipped configs/synthetic.yaml."""
    scenario: Annotated[ScenarioName, Data()] = "neutral"
    """Synthetic market: conditions that the whole market is drawn under (docs/synthetic_market.md)."""
    start: Annotated[str, Unit("YYYY-MM-DD"), Data("1 2 3 m")] = ""
    """First bar used, UTC, as YYYY-MM-DD; empty: as early as all instruments allow."""
    end: Annotated[str, Unit("YYYY-MM-DD"), Data("1 2 3 m")] = ""
    """Bars before this date are used, UTC, as YYYY-MM-DD; empty: as late as all instruments allow."""
    train_fraction: Annotated[float, Range("(0, 1)"), Unit("share of bars"), Data()] = 0.70
    """Share of the bars used for training."""
    validation_fraction: Annotated[float, Range("(0, 1)"), Unit("share of bars"), Data()] = 0.15
    """Share of the bars used to choose checkpoints; the rest is the test split."""
    gap_bars: Annotated[int, Range("[0, inf)"), Unit("bars"), Data()] = 250
    """Bars left out between two splits; at least 240, the longest look-back of the features."""
    conversion: Annotated[tuple[str, ...], Data("m")] = ()
    """Instruments that are not traded, whose prices convert profit into the account currency; pairs of the market that
    are still needed come besides."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train the hierarchy of trading agents in three phases."""

    phase1_timesteps: Annotated[int, Range("[1, inf)"), Unit("timesteps"), Host] = 100_000
    """Decisions of each specialist in phase 1, in whole updates."""
    phase2_timesteps: Annotated[int, Range("[1, inf)"), Unit("timesteps"), Host] = 50_000
    """Decisions of the meta-controller in phase 2, in whole updates."""
    phase3_timesteps: Annotated[int, Range("[1, inf)"), Unit("timesteps"), Host] = 50_000
    """Decisions of the hierarchy in phase 3, in whole updates."""
    parallel: Annotated[bool, Static("1")] = True
    """Train the specialists of phase 1 side by side: on all cores of a CPU, as one vmapped program elsewhere. Those
    whose batch sizes differ are trained one after the other."""
    curriculum: Annotated[bool, Data("1 2 3 m")] = False
    """Synthetic market: train on all stress scenarios, easy ones first and those that go badly more often."""
    save_freq: Annotated[int, Range("[1, inf)"), Unit("timesteps"), Host] = 10_000
    """Timesteps between two checkpoints (each is evaluated on the validation split)."""
    keep: Annotated[int, Range("[2, inf)"), Unit("checkpoints"), Host] = 3
    """Newest checkpoints of each training that stay on disk; the best one and the starting point stay besides."""
    phases: Annotated[str, Host] = "1,2,3"
    """Phases to run, in order; 2 needs the results of 1, and 3 of both, in the run directory."""
    quick_test: Annotated[bool, Static("1 2 3 m")] = False
    """A few seconds of everything: 1000, 500 and 500 timesteps with few environments."""
    data_dir: Annotated[str, Unit("folder"), Data("1 2 3 m")] = ""
    """Directory of bar files, one per symbol; empty: the embedded synthetic market."""
    symbols: Annotated[tuple[str, ...], Data("1 2 3 m")] = ()
    """Instruments to trade: each class keeps those of its own, and one that is in no class joins that of its kind;
    empty: all of the specialists."""
    instruments: Annotated[str, Unit("file"), Data("m")] = ""
    """YAML of contract specifications laid over the shipped configs/instruments.yaml; empty: the shipped ones alone."""
    tracker: Annotated[TrackerName, Host] = "none"
    """Experiment tracker that gets settings, metrics and results besides the run directory; on this machine unless
    MLFLOW_TRACKING_URI or WANDB_MODE say otherwise."""
    preset: Annotated[str, Host] = "default"
    """Preset of configs/presets.yaml under your own settings: fast, default, thorough, prop_firm or gpu."""
    risk_preset: Annotated[str, Host] = "default"
    """Preset of configs/risk.yaml that the risk limits start from: default, prop_firm or off."""
    broker_timezone: Annotated[str, Unit("time zone"), Data("m")] = "UTC"
    """Clock of bar files whose stamps have no offset: an IANA zone such as Europe/Helsinki, or NewYork+7."""
    allow_jumps: Annotated[bool, Data("m")] = False
    """Take steps of a factor two or more between bars of a file for real (a split, a crash), instead of refusing it."""
    force_broker_timezone: Annotated[bool, Data("m")] = False
    """Read stamps with an offset, and seconds since 1970, as local times of broker_timezone, too: MetaTrader's Python
    package counts seconds on its server's clock."""
    symbol_timezones: Annotated[tuple[str, ...], Data("m")] = ()
    """Clocks of single symbols, as EURUSD=NewYork+7, also where their stamps have an offset."""
    bar_stamps: Annotated[BarStamps, Data("1 2 3 m")] = "open"
    """Whether the stamps of bar files are the open of a bar or, as NinjaTrader writes them, its close."""
    symbol_bar_stamps: Annotated[tuple[str, ...], Data("1 2 3 m")] = ()
    """The same for single symbols, as EURUSD=close."""
    zero_spread: Annotated[ZeroSpread, Data("m")] = "median"
    """Spread of bars for which a file has zero: the median of its others, the instrument's default, or keep."""
    timeframe: Annotated[Timeframe, Data("1 2 3 m")] = "files"
    """Bars to trade on, made from those of the files; files: as they are there."""
    run_dir: Annotated[str, Unit("folder"), Host] = "."
    """Directory that receives logs, models and metrics; {time} in it becomes the start of the training."""
    seed: Annotated[int, Range("[0, 4294967295]"), Data()] = 0
    """Seed of the synthetic market, of the networks and of the training."""
    trials: Annotated[int, Range("[1, inf)"), Unit("trials"), Host] = 1
    """Settings that were tried before these were chosen, these included; `mtquant-jax sweep` writes it, and evaluate
    deflates the Sharpe ratio by it."""
    algorithm: Annotated[AlgorithmName, Static("1 2 3")] = "ppo"
    """How policies learn: ppo from what random actions earned; pathwise by the gradient through the account, for which
    the reward must have a slope; pathwise_ppo by the one and then the other. Python can register others."""
    phase1_algorithm: Annotated[PhaseAlgorithmName, Static("1")] = "same"
    """Algorithm of phase 1; same: that of all."""
    phase2_algorithm: Annotated[PhaseAlgorithmName, Static("2")] = "same"
    """Algorithm of phase 2; same: that of all."""
    phase3_algorithm: Annotated[PhaseAlgorithmName, Static("3")] = "same"
    """Algorithm of phase 3; same: that of all."""
    anchor: Annotated[AnchorName, Traced] = "flat"
    """Portfolio that policies tilt, and hold where they have nothing to say: flat is none, equal_weight and
    inverse_volatility are rebalanced once a day, buy_and_hold is bought in equal weights and never rebalanced."""
    anchor_size: Annotated[float, Range("(0, 1]"), Unit("share of a full position"), Traced] = 0.5
    """Largest position of the anchor; the rest is room for tilts on the same side."""
    tilt: Annotated[TiltName, Host] = "evidence"
    """How much of their tilt specialists are handed on with: what bars that they were not trained on bear out, which
    may be nothing, or the whole whatever those say."""
    evidence_folds: Annotated[int, Range("[0, 20]"), Unit("trainings"), Host] = 4
    """Parts of the training split that specialists are trained again without, to see what they earn on bars that they
    have not seen; these and the validation split are the evidence. 0: that split alone."""
    devices: Annotated[int, Range("[1, inf)"), Unit("devices"), Static("1 2 3")] = 1
    """Devices of this machine, or of each process where several train together, that the parallel episodes are divided
    among equally; results are those of one device, to rounding (docs/scaling.md)."""
    num_envs: Annotated[int, Range("[1, inf)"), Unit("episodes"), Static("1 2 3")] = 125
    """Parallel episodes of PPO."""
    num_steps: Annotated[int, Range("[1, inf)"), Unit("decisions"), Static("1 2 3")] = 16
    """Decisions per episode between two updates of PPO."""
    specialists: dict[str, SpecialistConfig] = dataclasses.field(default_factory=dict)
    meta_controller: MetaControllerConfig = MetaControllerConfig()
    joint_training: JointTrainingConfig = JointTrainingConfig()
    ppo: PPOConfig = PPOConfig()
    pathwise: PathwiseConfig = PathwiseConfig()
    simulation: SimulationConfig = SimulationConfig()
    reward: RewardConfig = RewardConfig()
    portfolio_reward: PortfolioRewardConfig = PortfolioRewardConfig()
    risk: RiskConfig = RiskConfig()
    market: MarketConfig = MarketConfig()

    def timesteps(self, phase: int) -> int:
        """Decisions that a phase is asked for: of each specialist, of the meta-controller, of the hierarchy."""
        return (self.phase1_timesteps, self.phase2_timesteps, self.phase3_timesteps)[phase - 1]

    def algorithm_of(self, phase: int) -> str:
        """Name of the algorithm that a phase learns with."""
        own = (self.phase1_algorithm, self.phase2_algorithm, self.phase3_algorithm)[phase - 1]
        return self.algorithm if own == "same" else own
