"""One script per claim; results as JSON in ``results/``."""
