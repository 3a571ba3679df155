"""What the ranks of a launcher say of an error: one of them, once, and the exit code with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from dist_erase.distributed.context import RankContext
from dist_erase.errors import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    InterruptedRunError,
    OtherRankFailedError,
    UserError,
    is_mendable,
    refusal,
)
from dist_erase.orchestration.lost_ranks import LostRanksError, words_of_failure
from dist_erase.storage import write_text

T = TypeVar("T")


class SaidElsewhereError(UserError):
    """What a person can mend, and another rank tells of."""


class Word:
    """How this process ends: said, and left for launch.py, once.

    That is done before anything is cleaned up: where one rank ends, launchers send SIGTERM to the
    others, and rank 0 may then still wait for a last scrape.

    Attributes:
        code: the exit code; None while the run goes on, and after an error that is a bug.
    """

    def __init__(self, end_at: str | None) -> None:
        self.code: int | None = None
        self._end_at = end_at
        self._ended = False

    @contextmanager
    def of_end(self) -> Iterator[None]:
        """Tells of the first error that leaves such a block."""
        try:
            yield
        except Exception as error:
            if not self._ended:
                self._ended = True
                self.code = _say(error)
                # Whether lost ranks may be tried again is launch.py's own to judge.
                if self.code is not None and not isinstance(error, LostRanksError):
                    self._leave(self.code)
            raise

    def _leave(self, code: int) -> None:
        if self._end_at is not None and os.environ["RANK"] == "0":
            with suppress(OSError):  # then the launcher's exit code has to do
                write_text(Path(self._end_at), f"{code}\n")


def _say(error: Exception) -> int | None:
    """Tells of an end, and gives its exit code; None for a bug, which gets a traceback."""
    rank = os.environ["RANK"]
    match error:
        case SaidElsewhereError():
            return EXIT_USER_ERROR
        case UserError():
            sys.stderr.write(f"error: {error}\n")
            return EXIT_USER_ERROR
        case LostRanksError():
            sys.stderr.write(f"rank {rank}: {error}\n")
            return EXIT_INTERRUPTED
        case InterruptedRunError():
            if rank == "0":  # once for all of them
                sys.stderr.write(f"{error}\n")
            return EXIT_INTERRUPTED
        case OtherRankFailedError():
            sys.stderr.write(f"error: rank {rank} ends because {error}\n")
            return error.exit_code
        case OSError() if (words := refusal(error)) is not None:
            sys.stderr.write(f"error: rank {rank}: {words}\n")
            return EXIT_USER_ERROR
    return None


@contextmanager
def own_words(folder: Path, rank: int, go_on: str) -> Iterator[None]:
    """`words_of_failure`, where a user error is told of by the rank that met it."""
    own: UserError | None = None
    try:
        with words_of_failure(folder, rank, go_on):
            try:
                yield
            except UserError as error:
                own = error
                raise
    except UserError as error:
        if error is own:
            raise
        raise SaidElsewhereError(*_words(error)) from None


def from_first(context: RankContext, make: Callable[[], T]) -> T:
    """`RankContext.from_first`, where rank 0 alone tells of what a person can mend."""
    try:
        return context.from_first(make)
    except (UserError, OSError) as error:
        if context.is_first or not is_mendable(error):
            raise
        raise SaidElsewhereError(*_words(error)) from None


def on_every_rank(context: RankContext, prepare: Callable[[], T]) -> T:
    """What `prepare` gives; raises on every rank if it fails on one, so that none waits."""
    error: Exception | None = None
    try:
        prepared = prepare()
    except InterruptedRunError:  # the others lose contact, which is resumable too
        raise
    except Exception as found:  # noqa: BLE001 - raised below, once the others know
        error = found
    if not context.agree(error is not None):
        return prepared
    mine = _words(error) if isinstance(error, UserError | OSError) and is_mendable(error) else None
    told = context.from_all(mine)
    if error is not None and (mine is None or mine not in told[: context.rank]):
        raise error
    elsewhere = next(filter(None, told), None)
    if elsewhere is not None:
        raise SaidElsewhereError(*elsewhere)
    raise OtherRankFailedError("another rank cannot start; its own output has the traceback")


def _words(error: UserError | OSError) -> tuple[str, str, str]:
    if isinstance(error, OSError):
        return error.filename, f"{error.strerror}.", "It is so on another rank's host."
    return error.where, error.problem, error.mend
