"""Who this process is among the ranks, and the few collectives that decisions need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dist_erase.distributed.clock import COLLECTIVES
from dist_erase.errors import StopAsked

T = TypeVar("T")


def never() -> None:
    """Nobody asks to stop."""


def limit_waits(seconds: float) -> None:
    """From now on a collective fails when the others keep it waiting for so long.

    For every process group there is: those that DeepSpeed made wait for torch's 30 minutes.
    """
    limit = timedelta(seconds=seconds)
    for group in dist.distributed_c10d._world.pg_map:
        if hasattr(group, "set_timeout"):  # since torch 2.15
            group.set_timeout(limit)
        else:
            dist.distributed_c10d._set_pg_timeout(limit, group)


@dataclass(frozen=True, kw_only=True)
class RankContext:
    """One rank of a run; made once, passed down.

    Attributes:
        rank: 0 .. world - 1.
        world: number of ranks; 1 without torch.distributed.
        device: where this rank's student lives.
        should_stop: why this process was asked to stop (signal, preemption), None if it was not.
            The loop asks at each step, where ranks may disagree for a moment: it acts on what they
            have agreed on only.
    """

    rank: int
    world: int
    device: torch.device
    should_stop: Callable[[], StopAsked | None] = never

    @property
    def is_first(self) -> bool:
        """Whether this rank writes what is written once."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits for every rank."""
        if self.world > 1:
            dist.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks of a small vector, on every rank alike (float64 on the CPU)."""
        total = values.detach().double().to(self.device if self.device.type == "cuda" else "cpu")
        self._add_up(total)
        return total.cpu() / self.world

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks."""
        return self.mean(values) * self.world

    def sum_integers(self, values: list[int]) -> list[int]:
        """Sums over ranks, modulo 2^64 as signed numbers: exact whatever their number."""
        total = torch.tensor(values, dtype=torch.int64, device=self.device)
        self._add_up(total)
        return [int(value) for value in total]

    def _add_up(self, values: Tensor) -> None:
        if self.world > 1:
            with COLLECTIVES.running(values.device):
                dist.all_reduce(values)

    def from_all(self, mine: T) -> list[T]:
        """Each rank's (picklable) value, by rank, on every rank."""
        if self.world == 1:
            return [mine]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, mine)
        return values

    def agree(self, mine: bool) -> bool:
        """True on every rank as soon as it is true on one."""
        return bool(self.mean(torch.tensor([float(mine)])).item() > 0)

    def from_first(self, make: Callable[[], T]) -> T:
        """Runs `make` on rank 0 only and gives its (picklable) result to every rank.

        Raises:
            Exception: what `make` raised, on every rank, so that none waits for the others.
        """
        box: list[Any] = [None, None]
        if self.is_first:
            try:
                box = [make(), None]
            except Exception as error:  # noqa: BLE001  handed on to every rank below
                box = [None, error]
        if self.world > 1:
            dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        result: T = box[0]
        return result
