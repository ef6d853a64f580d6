"""Days, months and moments as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np


def date_of(day: int) -> date:
    """Of days since 1970."""
    return date(1970, 1, 1) + timedelta(days=int(day))


def month_of(day: np.ndarray) -> np.ndarray:
    """Months since 1970 of days since 1970."""
    return np.asarray(day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def month_name(month: int) -> str:
    """``2025-03`` of months since 1970."""
    return f"{1970 + month // 12}-{month % 12 + 1:02d}"


def moment(seconds: Any) -> str:
    """``2025-03-01 14:00`` of seconds since 1970 UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M")
