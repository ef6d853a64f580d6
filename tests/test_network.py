"""No command opens a connection: `closed_network` stands around every test, and so around every command they run."""

from __future__ import annotations

import contextlib
import socket
import urllib.request

import pytest


def test_a_connection_is_refused_and_seen_even_where_the_error_is_swallowed(connections: list[str]) -> None:
    with pytest.raises(OSError, match="the tests have no network"):
        socket.create_connection(("192.0.2.1", 80))
    with contextlib.suppress(OSError):
        urllib.request.urlopen("http://example.invalid/")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, pytest.raises(OSError, match="no network"):
        datagram.connect(("192.0.2.1", 53))
    assert len(connections) == 3
    connections.clear()
