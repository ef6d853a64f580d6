"""The error a user can mend: one clear sentence, exit code 2, no traceback."""

from __future__ import annotations

import re

_SETTING = re.compile(r"`([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)*)`")


class UserError(Exception):
    """Raised where bad input is first known; the message names the file, the value and what would be right.

    Messages and notices name a setting in backticks, as Python and YAML call it: ```ppo.gae_lambda```.
    """


class Interrupted(Exception):
    """Someone wanted a command to stop, and all that it has done is saved; the text says how to go on."""

    def __init__(self, text: str, number: int) -> None:
        """``number`` is that of the signal."""
        super().__init__(text)
        self.exit_code = 128 + number


def with_flags(message: str) -> str:
    """The message as the command line shows it: ```ppo.gae_lambda``` becomes ``--ppo.gae-lambda``."""
    return _SETTING.sub(lambda setting: "--" + setting[1].replace("_", "-"), message)
