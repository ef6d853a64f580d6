"""``python -m mtquant_jax`` is the ``mtquant-jax`` command."""

import sys

from mtquant_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
