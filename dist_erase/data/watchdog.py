"""Says where the data workers are stuck when no batch comes: a hang explains itself."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_SIGNAL = signal.SIGUSR1
_log = logging.getLogger(__name__)


class Watchdog:
    """Has every data worker write its stacks each time a wait lasts `seconds`.

    Args:
        seconds: of waiting for one batch.
        folder: where stacks are written, one file a process; None = a temporary one.
    """

    def __init__(self, seconds: float, folder: Path | None) -> None:
        self.folder = folder or Path(tempfile.gettempdir()) / "dist-erase-stacks"
        self._seconds = seconds
        self._pids: Sequence[int] = ()
        self._since: float | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="data-watchdog", daemon=True)
        self._thread.start()

    def watch(self, pids: Sequence[int]) -> None:
        """Names the data workers; without any, this process itself is asked for its stacks."""
        self._pids = pids

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, a batch is waited for."""
        with self._changed:
            self._since = time.monotonic()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._since = None

    def close(self) -> None:
        """Ends the watch; files of processes that never were stuck go. Again: does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for path in (stacks_file(self.folder, pid) for pid in self._pids):
            if path.exists() and not path.stat().st_size:
                path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            with suppress(OSError):  # another rank's worker has begun in it
                self.folder.rmdir()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                if self._since is None:
                    self._changed.wait()
                    continue
                left = self._since + self._seconds - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self._since += self._seconds
                self._ask()

    def _ask(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for pid in self._pids:
            if not stacks_file(self.folder, pid).exists():
                # Without its handler the signal would end it.
                _log.warning("data worker %d has not begun yet", pid)
                continue
            try:
                os.kill(pid, _SIGNAL)
            except ProcessLookupError:
                _log.warning("data worker %d is gone", pid)
        if not self._pids:
            with stacks_file(self.folder, os.getpid()).open("a") as stream:
                faulthandler.dump_traceback(stream)
        _log.warning(
            "no batch for %g s; the stacks of %s are in %s",
            self._seconds,
            f"{len(self._pids)} data workers" if self._pids else "this process",
            self.folder,
        )


def answer_in(folder: Path) -> None:
    """In a data worker: write all threads' stacks when the watchdog asks."""
    folder.mkdir(parents=True, exist_ok=True)
    path = stacks_file(folder, os.getpid())
    hidden = path.with_suffix(".tmp")
    # Kept open for as long as the process lives: a handler of signals may not open files.
    faulthandler.register(_SIGNAL, file=hidden.open("a"), all_threads=True)
    hidden.rename(path)  # seen by the watchdog from now on


def stacks_file(folder: Path, pid: int) -> Path:
    """Where a process writes its stacks."""
    return folder / f"stacks-{pid}.txt"
