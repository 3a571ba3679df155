"""Rows of all ranks on every rank: with gradient for the student, without for the rest.

The scaling, once for all: a rank's loss is the mean over its own rows against global columns.
The backward of the gather SUMS over ranks what each rank's loss says about a row, so a rank's
gradient is world × its share of the global gradient; averaging parameter gradients over ranks
(DeepSpeed and DDP do) gives the gradient of the loss of one process on the whole batch.

Legend of the shape suffixes: b rows of this rank (equally many on each), B = world · b rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dist_erase.distributed.clock import COLLECTIVES


def gather_with_grad(x_b: Tensor) -> Tensor:
    """Concatenates `x_b` [b, ...] of all ranks in rank order to [B, ...], with gradient.

    Every rank must run the backward too, in the same order of gathers. Without a process
    group, or with one rank, it is `x_b` itself.
    """
    if _alone():
        return x_b
    gathered: Tensor = _GatherWithGrad.apply(x_b)
    return gathered


def gather(x_b: Tensor) -> Tensor:
    """As `gather_with_grad`, detached and for any dtype (captions, the teacher's rows)."""
    return x_b.detach() if _alone() else _all_gather(x_b.detach())


class _GatherWithGrad(torch.autograd.Function):
    """All-gather whose backward is a reduce-scatter: the sum over ranks, own slice kept."""

    @staticmethod
    def forward(ctx: Any, x_b: Tensor) -> Tensor:
        return _all_gather(x_b)

    @staticmethod
    def backward(ctx: Any, grad_B: Tensor) -> Tensor:
        rows = len(grad_B) // dist.get_world_size()
        grad_b = grad_B.new_empty((rows, *grad_B.shape[1:]))
        with COLLECTIVES.running(grad_B.device):
            dist.reduce_scatter_tensor(grad_b, grad_B.contiguous(), op=dist.ReduceOp.SUM)
        return grad_b


def _all_gather(x_b: Tensor) -> Tensor:
    x_B = x_b.new_empty((dist.get_world_size() * len(x_b), *x_b.shape[1:]))
    with COLLECTIVES.running(x_b.device):
        dist.all_gather_into_tensor(x_B, x_b.contiguous())
    return x_B


def _alone() -> bool:
    return not dist.is_initialized() or dist.get_world_size() == 1
