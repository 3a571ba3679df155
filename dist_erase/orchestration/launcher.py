"""The launcher that started a rank, which nobody could stop the run with once it is gone."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from dist_erase.errors import StopAsked

_GONE = StopAsked("launcher", "the end of its launcher")
_LAUNCH = "deepspeed.launcher.launch"
_RUNNERS = ("deepspeed", "deepspeed.pt", "ds")


class Launcher:
    """Knows whether the process that started this rank still lives.

    `deepspeed` starts a second process, which starts the ranks. On one machine the first does not
    pass SIGTERM on: it ends, and the ranks would train on with nobody to see how they end.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._runner = _runner_of(self._parent)

    def asked(self) -> StopAsked | None:
        """Asks to stop when it is gone."""
        if os.getppid() != self._parent:
            return _GONE
        if self._runner is None:
            return None
        try:
            here = psutil.Process(self._parent).ppid() == self._runner
        except psutil.NoSuchProcess:
            here = False
        return None if here else _GONE


def _runner_of(launch: int) -> int | None:
    """The process of the `deepspeed` command above `launch`; None = another way of starting.

    Over ssh and under torchrun there is a shell, which may end before the run does.
    """
    try:
        process = psutil.Process(launch)
        above = process.parent()
        if above is None or _LAUNCH not in process.cmdline():
            return None
        names = [Path(word).name for word in above.cmdline()[:3]]
    except psutil.Error:
        return None
    return above.pid if set(names) & set(_RUNNERS) else None
