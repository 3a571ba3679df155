"""The teacher in the process that asks: no Ray, no work ahead of the step."""

from __future__ import annotations

import time

from dist_erase.batch import Embeddings, Samples, TeacherAnswer
from dist_erase.models.frozen import FrozenClip
from dist_erase.teacher.client import TeacherStats, Ticket


class LocalTeacher:
    """A `TeacherClient` that embeds when an answer is collected.

    Args:
        clip: the original model.
    """

    def __init__(self, clip: FrozenClip) -> None:
        self._clip = clip
        self._waiting: dict[Ticket, tuple[Samples | None, Samples | None]] = {}
        self._next_ticket: Ticket = 0
        self._requests = 0
        self._latencies: list[float] = []

    def submit(self, retain: Samples | None, forget: Samples | None) -> Ticket:
        """Keeps the batch until it is collected."""
        ticket = self._next_ticket
        self._next_ticket += 1
        self._requests += 1
        self._waiting[ticket] = (retain, forget)
        return ticket

    def collect(self, ticket: Ticket) -> TeacherAnswer:
        """Embeds the batch; KeyError for a ticket unknown or collected before."""
        retain, forget = self._waiting.pop(ticket)
        begin = time.monotonic()
        answer = TeacherAnswer(retain=self._embed(retain), forget=self._embed(forget))
        # Waiting to be collected is no waiting for the teacher.
        self._latencies.append(time.monotonic() - begin)
        return answer

    def stats(self) -> TeacherStats:
        """Counts since the last call."""
        stats = TeacherStats(
            requests=self._requests,
            resubmitted=0,
            failures={},
            in_flight=len(self._waiting),
            latencies=tuple(self._latencies),
        )
        self._requests = 0
        self._latencies = []
        return stats

    def close(self) -> None:
        """Forgets what was not collected."""
        self._waiting.clear()

    def _embed(self, samples: Samples | None) -> Embeddings | None:
        if samples is None:
            return None
        exact = self._clip.encode(samples.images, samples.tokens)
        return Embeddings(image=exact.image.half().float(), text=exact.text.half().float())
