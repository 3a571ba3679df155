"""Time on a device: what the CPU's clock says of a GPU is only when work was handed over.

On a CPU a mark is the monotonic clock of this process. On a GPU it is an event in its queue, read
when the step is over, so that measuring makes nothing wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

Mark = float | torch.cuda.Event
Span = tuple[Mark, Mark]


def mark(device: torch.device) -> Mark:
    """Now, in the order of the device's work."""
    if device.type != "cuda":
        return time.monotonic()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def seconds_between(start: Mark, end: Mark) -> float:
    """Waits until the device has come to `end`."""
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000
    assert isinstance(start, float)
    assert isinstance(end, float)
    return end - start


def seconds_of(spans: Iterable[Span]) -> float:
    """All of them together; waits as `seconds_between` does."""
    return sum(seconds_between(start, end) for start, end in spans)


class Stopwatch:
    """Remembers when what is inside `running` ran, in any thread of this process."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Remembers the time inside."""
        start = mark(device)
        yield
        self._spans.append((start, mark(device)))

    def pop(self) -> list[Span]:
        """What ran since the last call."""
        spans, self._spans = self._spans, []
        return spans


# Waiting for other ranks is part of it: a collective ends when the slowest rank has come.
COLLECTIVES = Stopwatch()
