"""What time it is, or was."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from mtquant_jax.errors import UserError


def time_of(text: str | None, setting: str = "as_of") -> int:
    """Seconds since 1970 UTC of a time as ``2025-12-31 21:00``; now where there is none.

    Args:
        text: the time, or a date.
        setting: that it is of, for the message.

    Raises:
        UserError: it is written otherwise.
    """
    if text is None:
        return int(time.time())
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"`{setting}` {text!r:.40} is no time as 2025-12-31 21:00") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
