"""Trains hierarchies of trading agents with JAX: market data in, models, metrics and reports out."""

__version__ = "0.1.0"
