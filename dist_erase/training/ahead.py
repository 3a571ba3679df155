"""Batches with their teacher answers, asked for some steps before they are needed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from dist_erase.batch import PairBatch, TeacherAnswer
from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.teacher.client import TeacherClient, Ticket


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step's input and how long it was waited for, in seconds."""

    batch: PairBatch
    answer: TeacherAnswer | None
    data_wait: float
    teacher_wait: float


class Ahead:
    """Keeps `prefetch` batches submitted beyond the one in hand.

    Args:
        stream: endless batches.
        teacher: asked for what `spec` needs; None where it needs nothing.
        spec: the objective.
        prefetch: batches in flight beyond the current one; this bounds the teacher's queue.
        steps: how many batches are taken at most; none is read beyond.
    """

    def __init__(
        self,
        stream: Iterator[PairBatch],
        teacher: TeacherClient | None,
        spec: ObjectiveSpec,
        *,
        prefetch: int,
        steps: int,
    ) -> None:
        self._stream = stream
        self._teacher = teacher
        self._spec = spec
        self._depth = prefetch + 1
        self._left = steps
        self._queue: deque[tuple[PairBatch, Ticket | None]] = deque()

    def take(self) -> Taken:
        """The next batch; raises IndexError after the last."""
        started = time.monotonic()
        while len(self._queue) < self._depth and self._left > 0:
            self._left -= 1
            batch = next(self._stream)
            self._queue.append((batch, self._submit(batch)))
        batch, ticket = self._queue.popleft()
        read = time.monotonic()
        answer = None
        if self._teacher is not None and ticket is not None:
            answer = self._teacher.collect(ticket)
        return Taken(
            batch=batch,
            answer=answer,
            data_wait=read - started,
            teacher_wait=time.monotonic() - read,
        )

    def _submit(self, batch: PairBatch) -> Ticket | None:
        retain = batch.retain if self._spec.needs_teacher_retain else None
        forget = batch.forget if self._spec.needs_teacher_forget else None
        if self._teacher is None or (retain is None and forget is None):
            return None
        return self._teacher.submit(retain, forget)
