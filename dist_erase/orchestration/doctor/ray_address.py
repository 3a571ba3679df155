"""Where the Ray cluster is, and whether anybody answers there: without importing Ray."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from dist_erase.config.run import RunConfig
from dist_erase.orchestration.doctor.leftovers import CURRENT_CLUSTER
from dist_erase.orchestration.doctor.needs import Config
from dist_erase.orchestration.doctor.row import Row, fail, ok
from dist_erase.orchestration.ray_token import token_file

_KNOCK_SECONDS = 3.0
_START = "Start one with `ray start --head`, give its HOST:PORT, or set ray.address=local."


def cluster_address(config: Config | None, given: str | None) -> str | None:
    """HOST:PORT or ray://… to look at; None where a run would start its own, or nobody asked.

    Args:
        config: says `ray.address`.
        given: --address, before everything else.
    """
    asked = given or (config.ray.address if isinstance(config, RunConfig) else None)
    if asked == "local" or (asked is None and config is not None):
        return None
    if asked == "auto":
        return os.environ.get("RAY_ADDRESS") or _noted()
    if asked is None:  # nothing is to be run: a cluster that is noted and gone is no fault
        noted = os.environ.get("RAY_ADDRESS") or _noted()
        return noted if noted is not None and silence_at(noted) is None else None
    return asked


def check_address(config: Config | None, given: str | None) -> Iterator[Row]:
    """Whether somebody listens there: Ray itself would try for minutes."""
    address = cluster_address(config, given)
    if address is None:
        wanted = given == "auto" or (isinstance(config, RunConfig) and config.ray.address == "auto")
        if wanted and given != "local":
            found = f"auto finds no cluster (RAY_ADDRESS is not set, {CURRENT_CLUSTER} not there)"
            yield fail("ray.address", found, _START)
        elif isinstance(config, RunConfig):
            yield ok("ray.address", "local: the run starts a cluster of its own on this machine")
        return
    silence = silence_at(address)
    if silence is None:
        yield ok("ray.address", f"{address} answers")
    else:
        yield fail("ray.address", silence, _START)


def silence_at(address: str) -> str | None:
    """Why nobody answers at an address, in words; None if somebody does."""
    host, port = host_and_port(address)
    if port is None:
        return f"{address} is no address HOST:PORT"
    try:
        socket.create_connection((host, port), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        return f"nobody answers at {host}:{port} ({error.strerror or error})"
    return None


def host_and_port(address: str) -> tuple[str, int | None]:
    """Both parts; the port is None where there is none."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else None


def token_here() -> str | None:
    """Where this machine's Ray token comes from, in words; None where there is none.

    The token itself is never read. One that RAY_AUTH_MODE=disabled keeps back is none.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    path = token_file()
    return str(path) if path.is_file() else None


def _noted() -> str | None:
    try:
        return CURRENT_CLUSTER.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
