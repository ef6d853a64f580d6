"""Context that every benchmark records with its figures: the machine, the versions, and the spread over runs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.statistics.significance import interquartile_mean

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "numpy", "orbax-checkpoint", "mtquant-jax")


def machine() -> dict[str, Any]:
    """Processor, cores, system, load, and the device of JAX."""
    import jax

    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{device.platform}: {device.device_kind}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine speed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all values of repeated measurements."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "runs": list(values),
    }


def shares(values: Sequence[float]) -> dict[str, Any]:
    """Interquartile mean, range and all values over seeds."""
    middle = interquartile_mean(np.asarray(values))
    return {"interquartile_mean": middle, "lowest": min(values), "highest": max(values), "seeds": list(values)}


def store(name: str, figures: dict[str, Any], directory: Path = RESULTS) -> Path:
    """Print a benchmark's figures and write them to ``results/NAME.json``."""
    content = {
        "benchmark": name,
        "command": " ".join(["python", *sys.argv]),
        "commit": _commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        **figures,
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    print(text)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(text, encoding="utf-8")
    print(f"written to {path}", file=sys.stderr)
    return path


def _processor() -> str:
    """Name of the processor, or the architecture if the system does not report one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Commit of the checkout, marked as dirty if files differ from it."""
    command = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
