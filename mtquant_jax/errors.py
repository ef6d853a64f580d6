"""The error a user can mend: one clear sentence, exit code 2, no traceback."""


class UserError(Exception):
    """Raised where bad input is first known; the message names the file, the value and what would be right."""
