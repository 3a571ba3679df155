"""Secrets that a run is given, and the command lines, which everyone on a machine can read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SIGNATURE = "hush5a6b7c8d"  # of URLs
PASSWORD = "hush1e2f3a4b"
_PAUSE_SECONDS = 0.3


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Those of all processes that are seen inside."""
    found: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_PAUSE_SECONDS):
            for process in psutil.process_iter():
                try:
                    found.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
