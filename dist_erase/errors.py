"""The only errors that become a message and an exit code instead of a traceback."""

from __future__ import annotations

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


class InterruptedRunError(Exception):
    """The run stopped early with a checkpoint from which `--resume` continues."""

    def __init__(self, step: int, why: str) -> None:
        self.step = step
        self.why = why
        super().__init__(step, why)

    def __str__(self) -> str:
        """The one line that the user reads."""
        return f"interrupted after step {self.step} ({self.why}); continue with --resume"
