"""Names that a user gives a run, in a small file of its own: what `runs list` filters by and `runs prune` spares."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import read_sealed, write_sealed
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.records import JsonRecord

KEEP = "keep"
"""Tag of a run that is never pruned."""

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclasses.dataclass(frozen=True)
class _Tags(JsonRecord):
    """Content of ``logs/e2e_training/tags.json``."""

    tags: tuple[str, ...]


def read_tags(paths: RunPaths) -> tuple[str, ...]:
    """The tags of a run, in order.

    Raises:
        UserError: their file is damaged.
    """
    if not paths.tags.exists() and not paths.tags.is_symlink():
        return ()
    return _Tags.from_json(read_sealed(paths.tags, f"`run_dir` {paths.run_dir}"), str(paths.tags)).tags


def check_tags(tags: Sequence[str]) -> None:
    """Refuse names that are no tags.

    Raises:
        UserError: there is none, or one has other characters than letters, digits, points, hyphens and underscores,
            or more than 40.
    """
    if not tags:
        raise UserError("give at least one tag")
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise UserError(
                f"tag {tag!r:.60}: a tag has at most 40 letters, digits, points, hyphens and underscores, and begins "
                "with a letter or digit"
            )


def change_tags(paths: RunPaths, tags: Sequence[str], remove: bool) -> tuple[str, ...]:
    """Give a run tags, or take them away; returns all that it has then.

    Raises:
        UserError: a name is no tag, one that is to be removed is not there, or the file is damaged or cannot be
            written.
    """
    check_tags(tags)
    before = read_tags(paths)
    if remove and (missing := [tag for tag in tags if tag not in before]):
        has = f"its tags are {', '.join(before)}" if before else "it has no tags"
        raise UserError(f"{paths.run_dir} has no tag {missing[0]}; {has}")
    after = tuple(sorted({*before} - {*tags} if remove else {*before, *tags}))
    try:
        if after:
            write_sealed(paths.tags, _Tags(after).to_json())
        else:
            paths.tags.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{paths.tags} cannot be written: {error.strerror or error}") from None
    return after
