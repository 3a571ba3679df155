"""One frozen replica of the teacher pool: a plain class that `pool` makes a Ray actor."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dist_erase.config.model import ModelConfig
from dist_erase.errors import UserError
from dist_erase.models.frozen import Dtype, FrozenClip, load_frozen
from dist_erase.observability.device import record_device_memory
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter

# Images uint8 [n, 3, H, W] and tokens int64 [n, L] of one set; None for a set not asked about.
Question = tuple[np.ndarray, np.ndarray] | None
# Image and text embeddings of that set, L2-normalised float16 [n, D].
Answer = tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True, kw_only=True)
class ReplicaSpec:
    """What the replicas of one pool have in common.

    Attributes:
        device: "cuda" for the one GPU that Ray assigned, else "cpu".
        threads: torch's intra-op threads.
        run: name of the run, for metrics.
        metrics_folder: where snapshots are written; None = no metrics.
    """

    model: ModelConfig
    dtype: Dtype
    micro_batch: int
    device: str
    threads: int
    run: str
    metrics_folder: Path | None


@dataclass(frozen=True, kw_only=True)
class Pong:
    """A sign of life: process id and pairs embedded since that process started."""

    pid: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Life:
    """That a replica's process answers, and how its worker does.

    Attributes:
        pid: process id.
        working_seconds: how long it has worked on the request at hand; 0 between requests.
    """

    pid: int
    working_seconds: float

    def works(self, limit_seconds: float) -> bool:
        """Whether the worker gets on; one that hangs in a kernel stays at one request."""
        return self.working_seconds <= limit_seconds


class TeacherReplica:
    """The frozen model behind a queue.

    Methods are coroutines so that requests are counted as they arrive; one thread works on
    them, first in first out.

    Args:
        spec: what to load and how to run it.
        index: number of this replica in its pool.
    """

    def __init__(self, spec: ReplicaSpec, index: int) -> None:
        torch.set_num_threads(spec.threads)
        self._device = torch.device(spec.device)
        self._pairs = 0
        self._queued = 0
        self._began: float | None = None  # when the worker took the request at hand
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="teacher")
        self._metrics = Metrics(run=spec.run, role="teacher", rank=index)
        self._snapshots = (
            SnapshotWriter(self._metrics, spec.metrics_folder) if spec.metrics_folder else None
        )
        self._clip = _load(spec)

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
        self._loaded()
        began = self._began
        working = 0.0 if began is None else time.monotonic() - began
        return Life(pid=os.getpid(), working_seconds=working)

    async def close(self) -> None:
        """Writes the last metrics."""
        if self._snapshots is not None:
            self._snapshots.close()

    def _pong(self) -> Pong:
        self._loaded()
        return Pong(pid=os.getpid(), pairs=self._pairs)

    def _embed(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        clip = self._loaded()
        self._began = begin = time.monotonic()
        try:
            answers = tuple(_answer(clip, question) for question in questions)
        finally:
            self._began = None
        pairs = sum(len(answer[0]) for answer in answers if answer is not None)
        self._pairs += pairs
        self._metrics.teacher_replica_pairs_total.inc(pairs)
        self._metrics.teacher_replica_batch_pairs.observe(pairs)
        record_device_memory(self._metrics, self._device)
        self._metrics.teacher_replica_batch_seconds.observe(time.monotonic() - begin)
        return answers

    def _loaded(self) -> FrozenClip:
        if isinstance(self._clip, UserError):
            raise self._clip
        return self._clip

    def _count_queued(self, change: int) -> None:
        self._queued += change
        self._metrics.teacher_replica_queued_requests.set(self._queued)


def _load(spec: ReplicaSpec) -> FrozenClip | UserError:
    """The model, or why not: raised in a constructor, Ray would hand it on as text only."""
    try:
        return load_frozen(
            spec.model, dtype=spec.dtype, device=spec.device, micro_batch=spec.micro_batch
        )
    except UserError as error:
        return error


def _answer(clip: FrozenClip, question: Question) -> Answer:
    if question is None:
        return None
    # Arrays from Ray's object store are read-only, which tensors cannot express.
    images, tokens = (torch.from_numpy(array.copy()) for array in question)
    embeddings = clip.encode(images, tokens)
    return embeddings.image.half().numpy(), embeddings.text.half().numpy()
