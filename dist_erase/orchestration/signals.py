"""SIGTERM (SLURM, Kubernetes, a person) → a checkpoint at the next step → a resumable exit."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from dist_erase.errors import InterruptedRunError, StopAsked

START_AGAIN = "nothing was done yet; the same command starts it again"
SIGTERM = StopAsked("sigterm", "SIGTERM")
_TWICE = StopAsked("sigterm", "a second SIGTERM, without a checkpoint of its own")
# A scheduler signals every process of a job, and launchers pass theirs on to their ranks: what
# comes so soon after the first is that one again.
SAME_SECONDS = 5.0


class Sigterm:
    """What SIGTERM does to this process while the `with` block lasts (main thread only).

    While training is under way, it is noted for the loop to act on at its next step; a second one
    raises. Before and after, where no step would be lost, it raises at once. But not through a call
    of Ray: of what a signal handler raises there, Ray passes on KeyboardInterrupt and drops the
    rest. So a driver asks (`check`) while it waits for Ray (`waiting`).

    Attributes:
        go_on: what continues the run, for the last line (see `InterruptedRunError`).
    """

    def __init__(self, go_on: str) -> None:
        self.go_on = go_on
        self._first: float | None = None  # when, by the monotonic clock
        self._at_work = False
        self._waits = False
        self._twice = False
        self._note: Callable[[], None] | None = None
        self._end: InterruptedRunError | None = None
        self._before: Any = None

    def __enter__(self) -> Sigterm:
        self._before = signal.signal(signal.SIGTERM, self._arrived)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)
        # What a handler raises within a call of Ray comes out of it as the cause of this.
        if isinstance(error, SystemError) and isinstance(error.__cause__, InterruptedRunError):
            raise error.__cause__ from None

    def asked(self) -> StopAsked | None:
        """Whether it has come; who asks is a loop at work, which will act on it."""
        self._at_work = True
        return None if self._first is None else SIGTERM

    def check(self) -> None:
        """Raises InterruptedRunError if it has come."""
        if self._first is not None:
            raise self._end or self._interrupted(SIGTERM)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, it raises nothing: short calls of Ray are made, with `check` between them."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = before

    @contextmanager
    def training(self, note: Callable[[], None] | None = None) -> Iterator[None]:
        """Inside, the run trains; from the first `asked` on, or at once where `note` is given.

        Args:
            note: called when the signal comes, to hand it on to processes that train elsewhere.
                The block is then taken to wait for them in a call of Ray.

        Raises:
            InterruptedRunError: the signal came before, in a call of Ray, or too late for the loop;
                as the block raises.
        """
        self.check()
        self._end = None  # an earlier end, after which the run went on
        self._note, self._at_work = note, note is not None
        try:
            yield
            if self._first is not None:
                raise self._interrupted(SIGTERM)
        except InterruptedRunError as error:
            error.go_on = self.go_on
            self._end = error
            raise
        except KeyboardInterrupt:
            if not self._twice:
                raise
            self._end = self._interrupted(_TWICE)
            raise self._end from None
        finally:
            self._at_work = False

    def _arrived(self, *_: object) -> None:
        now = time.monotonic()
        first, self._first = self._first, self._first or now
        if first is not None and now - first < SAME_SECONDS:
            return
        if self._waits:
            return
        if not self._at_work:
            # Also where the run is ending after a first one, and waits for a last scrape.
            raise self._end or self._interrupted(SIGTERM)
        if first is None:
            if self._note is not None:
                self._note()
        elif self._note is not None:
            self._twice = True
            raise KeyboardInterrupt  # what Ray lets through; `training` says what it was
        else:
            raise self._interrupted(_TWICE)

    def _interrupted(self, asked: StopAsked) -> InterruptedRunError:
        return InterruptedRunError(None, asked, self.go_on)
