"""Turns one bar file, in any of the known formats, into validated arrays in UTC and price units.

`source` unpacks the file, `layouts` recognises its format, `table` and `stamps` parse its columns, and `checks`
validates them.
"""

from __future__ import annotations

from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES, BarFile, Findings, format_time
from mtquant_jax.market.bars.layouts import sniff
from mtquant_jax.market.bars.source import read_source
from mtquant_jax.market.bars.table import read_parquet_rows
from mtquant_jax.market.bars.wanted import examine_wanted, read_wanted_rows
from mtquant_jax.time_zones import Zone, read_zone

__all__ = ["PRICES", "BarFile", "Findings", "format_time", "inspect_bar_file", "read_bar_file"]


def inspect_bar_file(
    path: Path, zone: Zone | None = None, period: tuple[int, int] | None = None
) -> tuple[BarFile | None, Findings]:
    """Read one bar file; for an unusable file the bars are None and `Findings.problem` gives the reason.

    Stamps with an offset are converted; those without are on the clock of `zone` (None: UTC), unless the format
    defines them as UTC. A spread column counts points of the file's last quoted decimal (a gold file with three
    decimals has points of 0.001 whatever the instrument's digits are); in a file with bid and ask the spread is their
    difference. Wrong rows outside of `period` (see `examine_wanted`) do not matter.
    """
    try:
        source = read_source(path)
        zone = zone or read_zone("UTC")
        rows, notices = (
            (read_parquet_rows(source), [])
            if source.is_parquet
            else read_wanted_rows(source, sniff(source), zone, period)
        )
    except UserError as error:
        return None, Findings(problem=str(error))
    del source  # frees the text unless the rows keep it to locate a row
    file, findings = examine_wanted(rows, zone, period)
    findings.notices += notices
    return file, findings


def read_bar_file(path: Path, zone: Zone | None = None) -> BarFile:
    """Read the bars of one file, as `inspect_bar_file` does.

    Raises UserError naming file, row (the file's first line is row 1) and value for an unreadable or empty file, an
    unknown format, or a row that is incomplete, not a number, not positive, inconsistent, or a second version of a bar.
    """
    file, findings = inspect_bar_file(path, zone)
    if file is None:
        raise UserError(findings.problem or f"{path.name} has no bars")
    return file
