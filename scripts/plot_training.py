"""Draws the metrics of a run directory as one PNG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.reports.training_plot import plot_training


def main() -> int:
    """Exit code 0, or 2 with one sentence where there is nothing to plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=Path("."), help="directory of the run (default: .)")
    parser.add_argument(
        "--output", type=Path, default=Path("training.png"), help="PNG to write (default: training.png)"
    )
    arguments = parser.parse_args()
    try:
        plot_training(arguments.run_dir, arguments.output)
    except UserError as error:
        print(f"error: {with_flags(str(error))}", file=sys.stderr)
        return 2
    print(f"Wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
