"""One frozen replica of the teacher pool: a plain class that `pool` makes a Ray actor.

Ray's own processes import this module with the replicas' handles, so it leaves torch and open_clip
to the replica itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

from dist_erase.imports import quick_imports
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter
from dist_erase.teacher.protocol import Answer, Life, Pong, Question, ReplicaSpec


class TeacherReplica:
    """The frozen model behind a queue.

    Methods are coroutines so that requests are counted as they arrive; one thread works on
    them, first in first out.

    Args:
        spec: what to load and how to run it.
        index: number of this replica in its pool.
    """

    def __init__(self, spec: ReplicaSpec, index: int) -> None:
        with quick_imports():
            from dist_erase.teacher.embedder import Embedder

        self._queued = 0
        self._began: float | None = None  # when the worker took the request at hand
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="teacher")
        self._metrics = Metrics(run=spec.run, role="teacher", rank=index)
        self._snapshots = (
            SnapshotWriter(self._metrics, spec.metrics_folder) if spec.metrics_folder else None
        )
        self._embedder = Embedder(spec, self._metrics)

    async def embed(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        """Embeds each set on its own, from its first row, in micro-batches.

        Raises:
            UserError: the model could not be loaded.
        """
        self._count_queued(+1)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._worker, self._embed, questions
            )
        finally:
            self._count_queued(-1)

    async def ping(self) -> Pong:
        """Answers behind the requests that came before it: proof that the queue moves.

        Raises:
            UserError: the model could not be loaded.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._pong)

    async def alive(self) -> Life:
        """Answers at once, past the queue: a replica with much to do is not a dead one.

        Raises:
            UserError: the model could not be loaded.
        """
        self._embedder.loaded()
        began = self._began
        working = 0.0 if began is None else time.monotonic() - began
        return Life(pid=os.getpid(), working_seconds=working)

    async def close(self) -> None:
        """Writes the last metrics."""
        if self._snapshots is not None:
            self._snapshots.close()

    def _pong(self) -> Pong:
        self._embedder.loaded()
        return Pong(pid=os.getpid(), pairs=self._embedder.pairs)

    def _embed(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        self._began = time.monotonic()
        try:
            return self._embedder.embed(questions)
        finally:
            self._began = None

    def _count_queued(self, change: int) -> None:
        self._queued += change
        self._metrics.teacher_replica_queued_requests.set(self._queued)
