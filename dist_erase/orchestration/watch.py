"""`dist-erase watch`: a run seen from elsewhere, through its folder or its metrics address."""

from __future__ import annotations

import time
from typing import Protocol

from dist_erase.errors import EXIT_DONE, EXIT_NOT_KNOWN
from dist_erase.observability.progress import Progress
from dist_erase.observability.pulse import Pulse
from dist_erase.observability.sources import Update
from dist_erase.observability.state import RunState
from dist_erase.orchestration.ending import Ending
from dist_erase.orchestration.watching import show


class Watched(Protocol):
    """A run that can be asked how it goes and how it ended; `watched_run.find` gives one."""

    state: RunState
    pulse: Pulse
    poll_seconds: float

    def poll(self) -> Update:
        """What is new."""

    def silence(self) -> str | None:
        """In words that it gives no sign of life, and since when; None = it does."""

    def ending(self) -> Ending | None:
        """How it ended; None while it is at work, or if nobody could say."""


def watch(run: Watched, progress: Progress, *, give_up_seconds: float, once: bool) -> Ending:
    """Shows the run until it ends, is silent for too long, or the watcher leaves with Ctrl-C.

    Args:
        run: what to watch.
        progress: a view that feeds `run.state`; is started and closed here.
        give_up_seconds: how long to wait for a sign of life.
        once: look only once.

    Returns:
        The run's own ending; exit code 4 where it is not known, 0 for a watcher who leaves.

    Raises:
        UserError: what answers at the address is no run.
    """
    first = run.poll()  # before there is a view: a wrong address gets one message
    progress.start()
    try:
        if first.facts is not None:
            progress.look(first.facts)
        progress.past(first.rows)
        end = _until_it_ends(run, progress, give_up_seconds, once=once)
        if end is not None:
            progress.end(end.exit_code, end.message)
    except KeyboardInterrupt:
        end = Ending(exit_code=EXIT_DONE, message="no longer watched; the run itself goes on")
        progress.end(None, end.message)
    finally:
        progress.close()
    return end or Ending(exit_code=EXIT_DONE, message="")


def _until_it_ends(
    run: Watched, progress: Progress, give_up_seconds: float, *, once: bool
) -> Ending | None:
    """The end; None if the watcher needs no more: looked once, or stopped reading."""
    while True:
        silence = run.silence()
        end = run.ending()
        if end is not None:
            return end
        progress.silence(silence)
        waited = run.pulse.silent_seconds
        if silence is not None and (once or waited >= give_up_seconds):
            return Ending(exit_code=EXIT_NOT_KNOWN, message=f"{silence}; how it ended is not known")
        if once or progress.unread:
            return None
        time.sleep(run.poll_seconds)
        show(run.poll(), progress)
