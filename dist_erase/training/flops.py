"""How many floating-point operations a step's model takes, for model FLOPs utilisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dist_erase.batch import PairBatch, Samples
from dist_erase.models.student import Student


@dataclass(frozen=True, kw_only=True)
class ModelFlops:
    """Of one forward; multiply and add count as two.

    Attributes:
        image: for each image.
        text: for each distinct text.
        image_trained, text_trained: whether the tower has a backward, of twice the forward.
    """

    image: float
    text: float
    image_trained: bool
    text_trained: bool

    def of_step(self, batch: PairBatch) -> float:
        """What training on this rank's batch takes: equal captions are embedded once."""
        sets: list[Samples] = [s for s in (batch.retain, batch.forget) if s is not None]
        images = sum(len(one) for one in sets)
        texts = len({caption for one in sets for caption in one.caption_ids.tolist()})
        image = images * self.image * (3 if self.image_trained else 1)
        return image + texts * self.text * (3 if self.text_trained else 1)


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """Model FLOPs utilisation of a device with a known peak, in FLOP/s."""

    model: ModelFlops
    peak: float

    def of_step(self, batch: PairBatch, seconds: float) -> float:
        """The share of what the device could have computed in a step's time."""
        return self.model.of_step(batch) / seconds / self.peak


def measure_flops(student: Student) -> ModelFlops:
    """Counts the operations of one image and one text (a collective at ZeRO stage 3)."""
    one, two = _forward_flops(student, texts=1), _forward_flops(student, texts=2)
    parameters = [(n, p.requires_grad) for n, p in student.clip.named_parameters()]
    scalars = ("logit_scale", "logit_bias")
    return ModelFlops(
        image=2 * one - two,
        text=two - one,
        image_trained=any(grad for name, grad in parameters if name.startswith("visual.")),
        text_trained=any(
            grad for name, grad in parameters if not name.startswith(("visual.", *scalars))
        ),
    )


def _forward_flops(student: Student, *, texts: int) -> float:
    spec = student.image_spec
    images = torch.zeros(1, 3, spec.height, spec.width, dtype=torch.uint8)
    tokens = torch.zeros(texts, student.context_length, dtype=torch.int64)
    tokens[:, 0] = torch.arange(1, texts + 1)  # equal texts would be embedded once
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    trains = student.training
    student.eval()  # or an image of zeros would enter the statistics of BatchNorm
    try:
        # Fused attention is one operation, and the counter does not know each kind of it.
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            student(images, tokens)
    finally:
        student.train(trains)
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return float(counter.get_total_flops())
