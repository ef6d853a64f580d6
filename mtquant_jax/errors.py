"""The error a user can mend: one clear sentence, exit code 2, no traceback."""

from __future__ import annotations

import re

_SETTING = re.compile(r"`([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)*)`")


class UserError(Exception):
    """Raised where bad input is first known; the message names the file, the value and what would be right.

    Messages and notices name a setting in backticks, as Python and YAML call it: ```ppo.gae_lambda```.
    """


def with_flags(message: str) -> str:
    """The message as the command line shows it: ```ppo.gae_lambda``` becomes ``--ppo.gae-lambda``."""
    return _SETTING.sub(lambda setting: "--" + setting[1].replace("_", "-"), message)
