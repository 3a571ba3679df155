"""A process group of one, for commands that train without any launcher."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from dist_erase.distributed.context import RankContext, never
from dist_erase.errors import StopAsked
from dist_erase.training.engine import start_deepspeed


@contextmanager
def single_rank(
    should_stop: Callable[[], StopAsked | None] = never,
) -> Iterator[RankContext]:
    """Inside, this process is rank 0 of 1; `should_stop` is `RankContext`'s."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed refuses to start without it
    try:
        start_deepspeed(backend)
        yield RankContext(rank=0, world=1, device=device, should_stop=should_stop)
    finally:
        dist.destroy_process_group()
