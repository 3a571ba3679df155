"""How large each term's gradient is, and whether forgetting and retaining pull against each other.

Exact, over all trained parameters, under any number of ranks, ZeRO stage and accumulation. It
costs a forward and a backward for each term (four steps' time with the default objective), and
memory for one gradient on each rank and one for each term over all ranks: so it is done every
`observe.gradients_every` steps, by default never.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dist_erase.distributed.clock import COLLECTIVES
from dist_erase.distributed.context import RankContext
from dist_erase.losses.objective import Terms
from dist_erase.models.student import Student


@dataclass(frozen=True, kw_only=True)
class TermGradients:
    """Of the weighted terms of one global batch, the same on every rank.

    Attributes:
        terms: names, in the order of `products`.
        products: float64 [K, K], the inner products of their gradients.
    """

    terms: tuple[str, ...]
    products: Tensor

    def norms(self) -> dict[str, float]:
        """L2 norm of each term's gradient."""
        squares = self.products.diagonal().tolist()
        return {name: math.sqrt(square) for name, square in zip(self.terms, squares, strict=True)}

    def conflict(self) -> float | None:
        """Cosine of the forgetting term's gradient with the sum of all others'.

        None where one of them is missing or zero.
        """
        if "forgetting" not in self.terms or len(self.terms) < 2:
            return None
        at = self.terms.index("forgetting")
        others = [i for i in range(len(self.terms)) if i != at]
        dot = float(self.products[at, others].sum())
        squares = float(self.products[at, at]) * float(self.products[others][:, others].sum())
        return dot / math.sqrt(squares) if squares > 0 else None


def embedding_gradients(
    terms: Terms, weights: dict[str, float], leaves: Sequence[Tensor]
) -> dict[str, list[Tensor]]:
    """Each weighted term's gradient with respect to this rank's embeddings, scale and bias.

    A collective: the backward of a gather meets all ranks. The graph stays for the total.
    """
    return {
        name: list(
            torch.autograd.grad(
                weights[name] * value,
                list(leaves),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        )
        for name, value in terms.named.items()
    }


def parameter_gradients(
    student: Student,
    chunks: Sequence[tuple[Tensor, Tensor]],
    by_embedding: dict[str, list[Tensor]],
    context: RankContext,
) -> TermGradients:
    """Carries `embedding_gradients` on to the parameters (a collective).

    DeepSpeed does not notice: gradients are asked for, not left on the parameters.

    Args:
        student: under DeepSpeed, whose stage-3 hooks stand on its modules.
        chunks: this rank's micro-batches of images and tokens.
        by_embedding: term → gradients of image [n, D], text [n, D], scale, bias; n = all pairs
            of the rank.
        context: this rank.
    """
    parameters = [p for p in student.parameters() if p.requires_grad]
    sums: dict[str, list[Tensor]] = {}
    start = 0
    for images, tokens in chunks:
        rows = slice(start, start + len(images))
        for name, (image, text, scale, bias) in by_embedding.items():
            # Anew for each term: at stage 3 a graph lasts for one backward.
            out = student(images, tokens)
            surrogate = (out[0] * image[rows]).sum() + (out[1] * text[rows]).sum()
            if start == 0:  # scale and bias belong to the batch, not to each micro-batch
                surrogate = surrogate + out[2] * scale + out[3] * bias
            found = torch.autograd.grad(
                surrogate, parameters, allow_unused=True, materialize_grads=True
            )
            shares = [_share(gradient, context) for gradient in found]
            del found
            sums[name] = (
                [a + b for a, b in zip(sums[name], shares, strict=True)] if start else shares
            )
        start = rows.stop
    names = tuple(sums)
    products = torch.zeros(len(names), len(names), dtype=torch.float64)
    for i, one in enumerate(names):
        for j, other in enumerate(names[: i + 1]):
            dot = sum(
                float((a.double() * b.double()).sum())
                for a, b in zip(sums[one], sums[other], strict=True)
            )
            products[i, j] = products[j, i] = dot
    return TermGradients(terms=names, products=context.total(products))


def _share(gradient: Tensor, context: RankContext) -> Tensor:
    """This rank's part of the mean over ranks of a gradient, flat: so ranks hold it only once."""
    flat = gradient.reshape(-1).float()
    if context.world == 1:
        return flat
    size = math.ceil(len(flat) / context.world)
    padded = flat.new_zeros(size * context.world)
    padded[: len(flat)] = flat
    share = flat.new_empty(size)
    with COLLECTIVES.running(flat.device):
        dist.reduce_scatter_tensor(share, padded, op=dist.ReduceOp.SUM)
    return share / context.world
