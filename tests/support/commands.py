"""The command line in processes of its own, to be killed from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

START = "from dist_erase.cli.app import main; main()"


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Starts `dist-erase ARGUMENTS` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stop_when(
    process: subprocess.Popen[str], ready: Callable[[], bool], how: signal.Signals
) -> list[psutil.Process]:
    """Sends a signal as soon as `ready` says so; gives the processes that it had started.

    SIGINT goes to all of them too, as from a terminal; any other to the command alone.
    """
    deadline = time.monotonic() + 120
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"too late to stop it\n{process.communicate()[1]}")
        time.sleep(0.002)
    children = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    return children


def gone_within(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them end by themselves."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]
