"""What the train loop asks of a teacher, whatever kind it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from dist_erase.batch import Samples, TeacherAnswer

Ticket = int
FailureReason = Literal["died", "late"]


class TeacherLostError(RuntimeError):
    """No teacher replica gave an answer in time; the message says what became of each."""


@dataclass(frozen=True, kw_only=True)
class TeacherStats:
    """What happened since the last call of `stats`.

    Attributes:
        requests: batches submitted.
        resubmitted: batches sent to a replica once more because the one before failed.
        failures: failed sendings by reason.
        in_flight: batches without an answer, now.
        latencies: seconds from submitting a batch to seeing its answer, for each new answer.
    """

    requests: int
    resubmitted: int
    failures: dict[FailureReason, int]
    in_flight: int
    latencies: tuple[float, ...]


class TeacherClient(Protocol):
    """A frozen original model, asked ahead of the step.

    Answers of every kind of client are float32 that went through float16, so that kinds agree,
    and each set of a batch is embedded on its own, from its first row, in micro-batches.
    """

    def submit(self, retain: Samples | None, forget: Samples | None) -> Ticket:
        """Asks for embeddings; None for a set that the objective does not need them of."""

    def collect(self, ticket: Ticket) -> TeacherAnswer:
        """Waits for the answer, in any order of tickets, once for each.

        Raises:
            TeacherLostError: no replica could give it.
        """

    def stats(self) -> TeacherStats:
        """Counts since the last call."""

    def close(self) -> None:
        """Forgets what is under way."""
