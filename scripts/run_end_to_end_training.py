"""Three-phase training, the same program as ``mtquant-jax train``."""

import sys

from mtquant_jax.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
