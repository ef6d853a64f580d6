"""Phase 1 of the training alone: ``mtquant-jax train --phases 1``."""

import sys

from mtquant_jax.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main(phases="1"))
