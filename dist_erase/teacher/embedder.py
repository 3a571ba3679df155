"""The model of a replica: from a question to its answer."""

from __future__ import annotations

import time

import torch

from dist_erase.cpu_memory import keep_freed_memory
from dist_erase.errors import UserError
from dist_erase.models.frozen import FrozenClip, load_frozen
from dist_erase.observability.device import record_device_memory
from dist_erase.observability.emit import Metrics
from dist_erase.teacher.protocol import Answer, Question, ReplicaSpec


class Embedder:
    """The frozen model, or why it cannot be loaded: each question is answered by that then.

    Raised in the constructor of an actor, Ray would hand it on as text only.

    Args:
        spec: what to load and how to run it.
        metrics: take pairs and seconds.
    """

    def __init__(self, spec: ReplicaSpec, metrics: Metrics) -> None:
        torch.set_num_threads(spec.threads)
        self._device = torch.device(spec.device)
        if self._device.type == "cpu":
            keep_freed_memory()
        self._metrics = metrics
        self._clip = _load(spec)
        self.pairs = 0

    def loaded(self) -> FrozenClip:
        """The model.

        Raises:
            UserError: it could not be loaded.
        """
        if isinstance(self._clip, UserError):
            raise self._clip
        return self._clip

    def embed(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]:
        """Embeds each set on its own, from its first row, in micro-batches.

        Raises:
            UserError: the model could not be loaded.
        """
        clip = self.loaded()
        begin = time.monotonic()
        answers = tuple(_answer(clip, question) for question in questions)
        pairs = sum(len(answer[0]) for answer in answers if answer is not None)
        self.pairs += pairs
        self._metrics.teacher_replica_pairs_total.inc(pairs)
        self._metrics.teacher_replica_batch_pairs.observe(pairs)
        record_device_memory(self._metrics, self._device)
        self._metrics.teacher_replica_batch_seconds.observe(time.monotonic() - begin)
        return answers


def _load(spec: ReplicaSpec) -> FrozenClip | UserError:
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
