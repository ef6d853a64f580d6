"""Sweeps: many settings tried over several seeds each, through the one trainer, and recorded in an Optuna study."""
