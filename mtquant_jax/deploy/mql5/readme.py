"""What stands beside an exported Expert Advisor: what it trades, how it is installed, and what to check first."""

from __future__ import annotations

from collections.abc import Sequence

from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.version import __version__

_TEXT = """# MTQuant {name}

An Expert Advisor for MetaTrader 5, exported by mtquant-jax {version}. It trades on {minutes}-minute bars, in an account
in {currency}:

| Symbol | Class | Units of a lot in training | Smallest order, lots |
| --- | --- | --- | --- |
{rows}
{beside}
It starts as a **dry run on a demo account with 10 % of the equity**. Nothing in this folder says that it earns money.

## Install
1. In the terminal: File, Open Data Folder. Copy this folder to `MQL5\\Experts\\MTQuant-{name}`.
2. Open `MTQuant.mq5` in MetaEditor (F4) and compile (F7). There must be no error.
   Leave the project's CPU architecture at X64 Regular: others round differently.
3. Give every symbol above its broker's name: `InpSuffix` (`.pro`) or `InpAliases` (`XAUUSD=GOLD;SPX500=US500.cash`).
4. Drag MTQuant onto one chart, of whatever symbol. Allow algorithmic trading. Read the Experts tab: it must say
   `golden check passed`.

## Before real orders
- [ ] MetaEditor compiles without errors.
- [ ] The Experts tab says `golden check passed` and names no symbol whose lot differs from training, or you know why.
- [ ] `InpServerClock` fits: the Expert Advisor compares the server's clock with this computer's and refuses otherwise.
- [ ] A dry run of a week writes `MQL5\\Files\\MTQuant\\*.decisions.dry.csv`; its weights are those of
      `mtquant-jax` on the same bars.
- [ ] A restart of the terminal within a bar sends nothing twice.
- [ ] The global variable `MTQuant.stop.MAGIC` set to 1 (F3 in the terminal) closes everything.
- [ ] `InpDryRun` false on a demo account for some weeks; trades in `*.trades.csv` agree with the terminal's history.
- [ ] Only then `InpRealLogin`, with a share of capital whose loss you can bear.

docs/expert_advisor.md of mtquant-jax explains every input, and what was proved without a terminal.
"""


def readme(name: str, desk: TradingDesk, instruments: Sequence[Instrument]) -> str:
    """README.md of an Expert Advisor.

    Args:
        name: of the model.
        desk: that it was made of.
        instruments: of all symbols, the traded ones first.
    """
    of_class = {symbol: one.name for one in desk.desk.universe.classes for symbol in one.symbols}
    traded = [one for one in instruments if one.symbol in of_class]
    others = [one.symbol for one in instruments if one.symbol not in of_class]
    return _TEXT.format(
        name=name,
        version=__version__,
        minutes=desk.bar_seconds // 60,
        currency=desk.config.simulation.account_currency.upper(),
        rows="\n".join(
            f"| {one.symbol} | {of_class[one.symbol]} | {one.contract_size:g} | {one.min_lot:g} |" for one in traded
        ),
        beside=f"\nPrices of {', '.join(others)} are read for conversion only.\n" if others else "",
    )
