"""Turns days, months and seconds since 1970-01-01 into dates and text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np


def date_of(day: int) -> date:
    """Date of a number of days since 1970-01-01."""
    return date(1970, 1, 1) + timedelta(days=int(day))


def month_of(day: np.ndarray) -> np.ndarray:
    """Months since 1970-01 of days since 1970-01-01."""
    return np.asarray(day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def month_name(month: int) -> str:
    """Months since 1970-01 as text: ``2025-03``."""
    return f"{1970 + month // 12}-{month % 12 + 1:02d}"


def moment(seconds: Any) -> str:
    """Seconds since 1970-01-01 UTC as text: ``2025-03-01 14:00``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M")
