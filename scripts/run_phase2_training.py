"""Phase 2 of the training alone: ``mtquant-jax train --phases 2``."""

import sys

from mtquant_jax.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main(phases="2"))
