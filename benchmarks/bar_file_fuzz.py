"""How thousands of damaged bar files are read: refused in a sentence, as the same bars, or with a notice.

    python benchmarks/bar_file_fuzz.py [--mutants 4000] [--raw ../shared/data/market/raw_formats]

Mutants are made of a random walk in every format, and of the first lines of real exports where there are some. What
nobody could notice is not made: `mtquant_jax/reference/bar_mutants.py` lists it. A mutant that is read wrongly fails
the benchmark.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import tyro
from recording import RESULTS, store

from mtquant_jax.reference.bar_mutants import mutate
from mtquant_jax.reference.bar_originals import KINDS, judge, originals

_RAW = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "raw_formats"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Read mutants of bar files, and count how."""

    mutants: int = 4000
    """Number of damaged files."""
    seed: int = 0
    """First number of each mutant's seed; the second is its own number."""
    raw: Path = _RAW
    """Folder of real exports; without one, mutants are made of written files alone."""
    name: str = "bar_file_fuzz"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Make, read and judge the mutants; exit code 1 if one is read wrongly."""
    warnings.simplefilter("error")  # of NumPy, about numbers that overflow
    counts: collections.Counter[str] = collections.Counter()
    by_mutation: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    wrong = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = originals(Path(folder), arguments.raw if arguments.raw.is_dir() else None)
        for number in range(arguments.mutants):
            original = files[number % len(files)]
            name, mutant = mutate(np.random.default_rng([arguments.seed, number]), original)
            verdict = judge(original, mutant, Path(folder))
            counts[verdict.kind] += 1
            by_mutation[name][verdict.kind] += 1
            if verdict.kind == "wrong":
                wrong.append(f"{number}: {original.format}, {name}: {verdict.detail}")
    figures = {
        "mutants": arguments.mutants,
        "seed": arguments.seed,
        "originals": [original.format for original in files],
        "meaning": KINDS,
        "counts": {kind: counts[kind] for kind in KINDS},
        "by_mutation": {name: dict(sorted(found.items())) for name, found in sorted(by_mutation.items())},
        "read_wrongly": wrong,
        "seconds": round(time.perf_counter() - start, 1),
    }
    store(arguments.name, figures, arguments.results)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
