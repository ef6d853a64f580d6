"""Shared fixtures: tiny hand-made markets, so that every number in a test can be worked out by hand, and quick runs."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gc
import io
import json
import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile much and compute little. Without fusion emitters XLA compiles more than twice as fast (a step of the
# portfolio in 1.8 s instead of 4.5). Level 0 would be faster still, but rounds differently from row to row. JAX 0.11.2
# no longer has the second flag, and ends a process that is given it.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=1"
    + " --xla_cpu_use_fusion_emitters=false" * (tuple(map(int, version("jax").split(".")[:3])) < (0, 11, 2)),
)
# Compiled programs are shared by the tests of a session and kept out of the user's own cache.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="mtquant-jax-tests-"))

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.contract import Policy
from mtquant_jax.cli import main, train_main
from mtquant_jax.deploy import desk
from mtquant_jax.evaluation import backtests
from mtquant_jax.learning.ppo import learner as ppo
from mtquant_jax.simulation.anchor import Anchor
from mtquant_jax.simulation.execution import AccountRules
from mtquant_jax.simulation.market_env import MarketParams
from mtquant_jax.simulation.reward import RewardParams
from mtquant_jax.simulation.risk import NO_LIMIT, RiskRules
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.types import Contracts, MarketTable, Span

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"


def f32(values) -> jnp.ndarray:
    """A float32 array on the device."""
    return jnp.asarray(values, jnp.float32)


def same_bits(one: Policy, other: Policy) -> bool:
    """Whether two policies are equal to the bit."""
    left, right = to_named_arrays(one), to_named_arrays(other)
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def make_table(
    open_prices,
    close_prices,
    spread=0.0,
    tradable=None,
    conversion=None,
    features=None,
    num_domain: int = 2,
    swap_nights=0.0,
    fee_conversion=1.0,
    covariance=None,
    day=None,
) -> MarketTable:
    """A table of one path from prices ``[T, N]``; spread broadcasts, conversion is ``[T, N]`` at open and close."""
    open_prices, close_prices = np.atleast_2d(open_prices), np.atleast_2d(close_prices)
    num_bars, num_instruments = close_prices.shape
    if tradable is None:
        tradable = np.ones((num_bars, num_instruments), bool)
    factor_open, factor_close = conversion if conversion is not None else (np.ones_like(close_prices),) * 2
    if features is None:
        features = np.zeros((num_bars, num_instruments, 3))
    if covariance is None:
        covariance = 1e-6 * np.eye(num_instruments)
    if day is None:
        day = np.arange(num_bars) // 24
    return MarketTable(
        open=f32(open_prices)[None],
        close=f32(close_prices)[None],
        spread=f32(np.broadcast_to(spread, close_prices.shape))[None],
        tradable=jnp.asarray(tradable)[None],
        conversion_open=f32(factor_open)[None],
        conversion_close=f32(factor_close)[None],
        fee_conversion=f32(np.broadcast_to(fee_conversion, close_prices.shape))[None],
        swap_nights=f32(np.broadcast_to(swap_nights, close_prices.shape)),
        features=f32(features)[None],
        domain=jnp.zeros((1, num_bars, 1, num_domain)),
        macro=jnp.zeros((1, num_bars, 5)),
        covariance=jnp.broadcast_to(f32(covariance), (1, num_bars, num_instruments, num_instruments)),
        day=jnp.asarray(day, jnp.int32),
    )


def make_contracts(num_instruments: int, size=100_000.0, commission=0.0, margin_rate=0.0333, **others) -> Contracts:
    """Equal contracts without slippage, swap or lot limits, or one value per instrument (swaps: per side)."""
    pairs = ("swap_price", "swap_money", "swap_rate")
    values = {
        "contract_size": size,
        "commission": commission,
        "margin_rate": margin_rate,
        "slippage": 0.0,
        "slippage_volatility": 0.0,
        "min_lot": 0.01,
        "lot_step": 0.01,
        "max_lot": 1e9,
        **dict.fromkeys(pairs, 0.0),
        **others,
    }
    shape = (num_instruments,)
    return Contracts(
        **{name: f32(np.broadcast_to(v, (2, *shape) if name in pairs else shape)) for name, v in values.items()}
    )


def make_rules(**changes) -> AccountRules:
    """The default rules of an account, changed where asked."""
    rules = {
        "stop_out_level": 0.5,
        "ruin_level": 0.2,
        "cost_multiplier": 1.0,
        "impact": 0.0,
        "round_lots": 0.0,
        "initial_capital": 100_000.0,
        "leverage": 1.0,
        "trade_decay": 0.0,
        **changes,
    }
    arrays = {name: f32(value) for name, value in rules.items()}
    return AccountRules(**{**arrays, "round_lots": arrays["round_lots"] > 0})


def make_risk(**limits) -> RiskRules:
    """No limits but those given."""
    values = {field.name: NO_LIMIT for field in dataclasses.fields(RiskRules)}
    values |= {"correlation_threshold": 0.7, "var_z": 1.645, "bars_per_day": 24.0, **limits}
    return RiskRules(**{name: f32(value) for name, value in values.items()})


def make_params(
    table: MarketTable, contracts: Contracts | None = None, span=None, episode_length: int = 1000, risk=None, **rules
) -> MarketParams:
    """A class of all the table's instruments."""
    num_bars, num_instruments = table.close.shape[1:]
    first, last = span or (0, num_bars)
    return MarketParams(
        table=table,
        contracts=contracts or make_contracts(num_instruments),
        mask=jnp.ones((1, num_instruments), bool),
        share=jnp.full((1, num_instruments), 1.0 / num_instruments),
        rules=make_rules(**rules),
        risk=risk or make_risk(),
        reward=RewardParams(scale=f32(1.0), risk_aversion=f32(1.0), sharpe_memory=f32(100.0)),
        span=Span(first=jnp.asarray(first, jnp.int32), last=jnp.asarray(last, jnp.int32)),
        max_steps_in_episode=jnp.asarray(episode_length, jnp.int32),
        anchor=Anchor.named("flat", 0.5),
        hole=Span(first=jnp.int32(0), last=jnp.int32(0)),
        path_probability=jnp.ones(table.open.shape[0]),
    )


def random_prices(num_bars: int, num_instruments: int, seed: int = 0, volatility: float = 1e-3, start=1.0):
    """Opens and closes ``[T, N]`` of a random walk with gaps between bars."""
    generator = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(volatility * generator.normal(size=(num_bars, num_instruments)), axis=0))
    gaps = np.exp(0.3 * volatility * generator.normal(size=(num_bars, num_instruments)))
    opened = np.concatenate([np.broadcast_to(start, (1, num_instruments)), close[:-1]]) * gaps
    return opened, close


@pytest.fixture
def real_data() -> Path:
    """The folder of real hourly bars; tests that want it are skipped where it is absent."""
    if not (SHARED / "h1").is_dir():
        pytest.skip("no real bars beside this checkout")
    return SHARED / "h1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a whole training is slow."""
    for item in items:
        if {"train", "synthetic_run", "walked"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


_CONNECTIONS: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def closed_network() -> Iterator[None]:
    """No test reaches the network: every command that the session runs is shown to do without."""
    connect = socket.socket.connect

    def refused(name: str) -> Callable[..., Any]:
        def refuse(*arguments: Any, **_: Any) -> Any:
            if name == "connect" and arguments[0].family == getattr(socket, "AF_UNIX", None):
                return connect(*arguments)
            _CONNECTIONS.append(f"{name} {arguments[-1]}")
            raise OSError(f"the tests have no network: {_CONNECTIONS[-1]}")

        return refuse

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refused(name))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, name, refused(name))
        yield


@pytest.fixture(autouse=True)
def connections(closed_network: None) -> Iterator[list[str]]:
    """What the test and its fixtures have tried to reach: nothing in the end, also where the error was swallowed."""
    yield _CONNECTIONS
    tried, _CONNECTIONS[:] = list(_CONNECTIONS), []
    assert not tried


@pytest.fixture(scope="session", autouse=True)
def shared_programs(closed_network: None) -> Iterator[dict[Any, Any]]:
    """Compiled programs of the whole session: trainings of equal shapes are traced and compiled once.

    Whoever counts compile seconds clears them first.
    """
    programs: dict[Any, Any] = {}

    usual_start = Compiler.__init__

    def start(compiler: Compiler, quick: bool = False) -> None:
        usual_start(compiler, quick)
        compiler._compiled = programs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compiler, "__init__", start)
        for compiler in (backtests.COMPILER, desk._COMPILER):
            patch.setattr(compiler, "_compiled", programs)
        yield programs


@pytest.fixture(scope="module", autouse=True)
def room_for_programs(shared_programs: dict[Any, Any]) -> Iterator[None]:
    """Forget compiled programs where a process nears the memory maps that Linux allows it: XLA crashes beyond them."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        shared_programs.clear()
        jax.clear_caches()
        gc.collect()


_MOST_MAPS = 25_000  # of 65,530 by default


def once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that one worker of a test run builds for all of them; whoever changes it works on a copy."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    claimed, done = folder.with_name(f"{name}.claimed"), folder.with_name(f"{name}.done")
    folder.parent.mkdir(exist_ok=True)
    try:
        claimed.mkdir()
    except FileExistsError:
        while not done.exists():  # the test's own timeout ends this
            time.sleep(0.1)
        if problem := done.read_text(encoding="utf-8"):
            raise RuntimeError(f"another worker failed to build {name}: {problem}") from None
        return folder
    try:
        build(folder)
    except BaseException as error:
        done.write_text(repr(error) or "?", encoding="utf-8")
        raise
    done.touch()
    return folder


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """``train(*flags) -> run directory`` of a quick run that must succeed."""

    def run(*flags: str, run_dir: Path | None = None) -> Path:
        run_dir = run_dir or tmp_path_factory.mktemp("run")
        assert train_main(["--quick-test", "--run-dir", str(run_dir), *flags]) == 0
        return run_dir

    return run


@pytest.fixture(scope="session")
def synthetic_run(train, shared_programs, tmp_path_factory) -> Path:
    """A quick run of all phases on the synthetic market, shared: whoever changes it works on a copy."""

    def build(folder: Path) -> None:
        traces: Counter[str] = Counter()
        original = ppo.ppo_update

        def counted(learner: Any, program: Any, *rest: Any) -> Any:
            traces[type(program.env).__name__] += 1
            return original(learner, program, *rest)

        shared_programs.clear()  # its traces and compile seconds are looked at
        jax.clear_caches()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ppo, "ppo_update", counted)
            train(run_dir=folder)
        _beside(folder, "traces").write_text(json.dumps(traces), encoding="utf-8")

    return once(tmp_path_factory, "synthetic_run", build)


@pytest.fixture(scope="session")
def traces_of_updates(synthetic_run) -> dict[str, int]:
    """How often the update of each environment was traced in `synthetic_run`."""
    traces: dict[str, int] = json.loads(_beside(synthetic_run, "traces").read_text(encoding="utf-8"))
    return traces


def _beside(folder: Path, what: str) -> Path:
    """A file about a shared folder that is not in it."""
    return folder.with_name(f"{folder.name}.{what}")


SMALL = "--market.num-paths 2 --market.num-bars 2000 --save-freq 250"
SMALL += " --phase1-timesteps 250 --phase2-timesteps 250 --phase3-timesteps 250"


def walk_forward(run_dir: Path, *flags: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a quick one."""
    arguments = ["walk-forward", "--quick-test", "--run-dir", str(run_dir), "--draws", "100", *flags]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def walked(tmp_path_factory) -> SimpleNamespace:
    """Two folds of two seeds, as small as they can be."""

    def build(folder: Path) -> None:
        code, out, err = walk_forward(folder, "--folds", "2", "--num-seeds", "2", *SMALL.split())
        assert code == 0, err
        _beside(folder, "printed").write_text(json.dumps([out, err]), encoding="utf-8")

    run_dir = once(tmp_path_factory, "walked", build)
    out, err = json.loads(_beside(run_dir, "printed").read_text(encoding="utf-8"))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    result = json.loads((run_dir / "walk_forward.json").read_text(encoding="utf-8"), parse_constant=refuse)
    with (run_dir / "equity.csv").open(encoding="utf-8", newline="") as stream:
        equity = list(csv.DictReader(stream))
    return SimpleNamespace(run_dir=run_dir, result=result, equity=equity, out=out, err=err)
