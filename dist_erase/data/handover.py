"""How images get from data workers to their rank: through memory that both keep and use again.

A fresh piece of shared memory for every part costs a file, a handshake, and on both sides a page
fault for every 4 KiB: for small photos a fifth of what decoding them costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dist_erase.batch import ImageSpec, StreamName

PREFETCH = 2  # parts that a worker makes ahead
# A worker begins a part at the earliest when the rank asks for the one PREFETCH before it, which
# it does after copying all earlier ones.
_SLOTS = PREFETCH + 1


class ImageSlots:
    """Room for the images of one data worker's last parts; pickled, it stays the same memory.

    Args:
        counts: images of each set in a part.
        image: their size.
    """

    def __init__(self, counts: dict[StreamName, int], image: ImageSpec) -> None:
        shape = (_SLOTS, sum(counts.values()), 3, image.height, image.width)
        self._counts = counts
        self._memory = torch.empty(shape, dtype=torch.uint8)
        self._steps = torch.full((_SLOTS,), -1)
        for tensor in (self._memory, self._steps):
            tensor.share_memory_()  # type: ignore[no-untyped-call]

    def begin(self, step: int) -> dict[StreamName, Tensor]:
        """For the worker: where the images of a step's part go, uint8 [n, 3, H, W] each."""
        self._steps[step % _SLOTS] = step
        return self.images(step)

    def images(self, step: int) -> dict[StreamName, Tensor]:
        """For the rank: the images of a step's part, to be copied and then checked (`check`)."""
        parts = torch.split(self._memory[step % _SLOTS], list(self._counts.values()))
        return dict(zip(self._counts, parts, strict=True))

    def check(self, step: int) -> None:
        """Raises AssertionError if the worker has begun to write another part over this one."""
        found = int(self._steps[step % _SLOTS])
        if found != step:
            raise AssertionError(f"images of step {step} were overwritten by those of step {found}")
