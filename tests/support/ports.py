"""Ports of this machine."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

# Below those that the kernel gives to connections, above those of Ray's workers: what listens
# there is late at times, and every connection meanwhile could take another one.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """One that nobody listens on at the moment."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")
