"""Measures the synthetic market's calibration from a directory of hourly bar files and writes it as YAML."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars import load_bars
from mtquant_jax.market.calibration import calibrate, calibration_yaml
from mtquant_jax.market.formats import format_time
from mtquant_jax.market.instruments import load_instruments


def main() -> int:
    """Exit code 0, or 2 with one sentence where the input is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="directory of hourly bar files, one per symbol")
    parser.add_argument("--output", type=Path, required=True, help="YAML file to write, such as configs/synthetic.yaml")
    parser.add_argument(
        "--symbols", nargs="+", help="instruments to measure (default: all of configs/instruments.yaml)"
    )
    arguments = parser.parse_args()
    try:
        instruments = load_instruments()
        bars, notices = load_bars(arguments.data_dir, arguments.symbols or list(instruments), instruments)
        calibration = calibrate(bars)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for notice in notices:
        print(notice)
    period = f"{format_time(bars.timestamps[0])} to {format_time(bars.timestamps[-1])}"
    text = calibration_yaml(calibration, f"hourly bars of {arguments.data_dir.name}, {period} UTC")
    arguments.output.write_text(text, encoding="utf-8")
    print(f"Wrote {arguments.output} from {len(bars.timestamps)} bars, {period}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
