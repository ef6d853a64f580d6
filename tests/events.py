"""Reads TensorBoard's event files back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_events(folder: Path) -> Iterator[tuple[str, int, Any]]:
    """Tag, step and value of every event in the one file of a folder."""
    from tensorboardX.proto.event_pb2 import Event

    (events,) = folder.iterdir()
    content = events.read_bytes()
    while content:  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        yield from ((value.tag, event.step, value) for value in event.summary.value)
        content = content[16 + length :]
