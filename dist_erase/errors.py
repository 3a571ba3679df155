"""The only errors that become a message and an exit code instead of a traceback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USER_ERROR = 2
EXIT_GOAL_MISSED = 3
EXIT_NOT_KNOWN = 4  # of `watch`: how the run ended, or whether it did
EXIT_INTERRUPTED = 75
EXIT_STOPPED = 130


class UserError(Exception):
    """Input that a person can mend.

    Args:
        where: the configuration key or the file at fault, as the user wrote it.
        problem: what is wrong, with the value found.
        mend: what to do about it, as one sentence.
    """

    def __init__(self, where: str, problem: str, mend: str) -> None:
        self.where = where
        self.problem = problem
        self.mend = mend
        super().__init__(where, problem, mend)

    def __str__(self) -> str:
        """The one line that the user reads."""
        return f"{self.where}: {self.problem} {self.mend}"


def refusal(error: BaseException) -> str | None:
    """Names the file or store that the system refuses, and why; None if the error is another.

    A full disk or a share that is gone is no bug, and what a run reads and writes is named then
    (`storage.named`). An error without a name is none that we foresaw.
    """
    if not isinstance(error, OSError) or error.filename is None:
        return None
    return f"{error.filename}: {error.strerror}."


def in_one_line(error: BaseException, longest: int) -> str:
    """Its kind and what it says, of which `longest` characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:longest]}"


def is_mendable(error: BaseException | None) -> bool:
    """Whether a person can mend it: bad input, or what the system refused."""
    return isinstance(error, UserError) or (error is not None and refusal(error) is not None)


class BadSampleError(Exception):
    """The content of one sample cannot be used (never raised for a failed read).

    Args:
        reason: a short fixed word, used as a metric label: `image`, `empty`, `too_large`,
            `caption`, `class`, `structure` or `overlap`.
        detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason, detail)


StopKind = Literal["sigterm", "drain", "request", "launcher"]
STOP_KINDS: tuple[StopKind, ...] = ("sigterm", "drain", "request", "launcher")


@dataclass(frozen=True)
class StopAsked:
    """Why a run should stop.

    Attributes:
        kind: a fixed word, used as a metric label: SIGTERM, a drained node, a stop file, or a
            launcher that is gone.
        words: who asks, to complete "stopped at step 7 by ...".
    """

    kind: StopKind
    words: str


# How the message of a rank begins that another one, its host or the network has left.
LOST_CONTACT = "lost contact with the other ranks"
GO_ON = "`dist-erase run ... --resume` goes on"


class InterruptedRunError(Exception):
    """The run stopped early, and continues where its last checkpoint is.

    Args:
        step: the last one done, whose checkpoint was written; None where no step was under way.
        asked: why.
        go_on: what continues the run, in words.
    """

    def __init__(
        self,
        step: int | None,
        asked: StopAsked,
        go_on: str = GO_ON,
    ) -> None:
        self.step = step
        self.asked = asked
        self.go_on = go_on
        super().__init__(step, asked, go_on)

    def __str__(self) -> str:
        """The one line that the user reads."""
        where = "" if self.step is None else f" at step {self.step}"
        return f"stopped{where} by {self.asked.words}; {self.go_on}"


class OtherRankFailedError(Exception):
    """Another rank ended by an error that is no lack of contact.

    Args:
        words: which one, and how.
        exit_code: its own.
    """

    def __init__(self, words: str, exit_code: int = EXIT_BUG) -> None:
        self.exit_code = exit_code
        super().__init__(words)
