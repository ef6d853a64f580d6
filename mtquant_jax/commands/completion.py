"""Prints the script with which a shell completes commands, flags and their choices."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import tyro

from mtquant_jax.settings.flags import FLAGS, parsed


@dataclasses.dataclass(frozen=True)
class CompletionCommand:
    """Print a script that completes commands, flags and their choices in your shell.

    bash: eval "$(mtquant-jax completion bash)" in ~/.bashrc.

    zsh: mtquant-jax completion zsh > ~/.zfunc/_mtquant-jax, with ~/.zfunc in fpath before compinit.

    fish: mtquant-jax completion fish > ~/.config/fish/completions/mtquant-jax.fish.
    """

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="{bash,zsh,fish}")]
    """Shell that you use."""


def run(arguments: Sequence[str], prog: str, every_command: Callable[[], Any]) -> None:
    """Print the script.

    Args:
        arguments: after the command's name.
        prog: name of the program in help and messages.
        every_command: gives the dataclass of the program, with all commands and flags.

    Raises:
        SystemExit: help was asked for (0) or a shell is unknown (2).
    """
    command, text = parsed(CompletionCommand, arguments, prog), io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(
            every_command(),
            args=["--tyro-print-completion", command.shell],
            prog=prog.split()[0],
            registry=FLAGS,
        )
    # Where the script knows nothing to offer, as for a path that is no flag's value, bash offers names of files.
    print(text.getvalue().replace("\ncomplete -F ", "\ncomplete -o default -F "), end="")
