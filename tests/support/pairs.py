"""Seeded forget and retain embeddings of a student and a teacher, and comparison of losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dist_erase.losses.rows import Model, Rows

COMPONENTS = 4
FORGET_CAPTIONS = (7, 7, 8)
RETAIN_CAPTIONS = (1, 2, 1, 8, 3)  # 8 is also a forget caption


@dataclass(frozen=True)
class Features:
    """What a tower would give before normalisation, with gradient: the leaves of a test."""

    forget_image: Tensor
    forget_text: Tensor
    retain_image: Tensor
    retain_text: Tensor
    scale: Tensor
    bias: Tensor
    forget_captions: Tensor
    retain_captions: Tensor

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """Everything that a loss may have a gradient for."""
        return (
            self.forget_image,
            self.forget_text,
            self.retain_image,
            self.retain_text,
            self.scale,
            self.bias,
        )

    def model(self, *leaves: Tensor) -> Model:
        """One process's view of the whole batch, made from `leaves` (default: its own)."""
        fi, ft, ri, rt, scale, bias = leaves or self.leaves
        return Model(
            forget=whole(fi, ft, self.forget_captions),
            retain=whole(ri, rt, self.retain_captions),
            scale=scale,
            bias=bias,
        )


def whole(image: Tensor, text: Tensor, captions: Tensor) -> Rows:
    """Rows of a world of one."""
    image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    return Rows(
        image_bD=image, text_bD=text, image_BD=image, text_BD=text, captions_B=captions, offset=0
    )


def make_features(
    seed: int,
    *,
    forget: tuple[int, ...] = FORGET_CAPTIONS,
    retain: tuple[int, ...] = RETAIN_CAPTIONS,
    scale: float = 3.0,
    bias: float = -1.5,
    dtype: torch.dtype = torch.float64,
) -> Features:
    """Random features with these captions."""
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    return Features(
        forget_image=leaf(len(forget), COMPONENTS),
        forget_text=leaf(len(forget), COMPONENTS),
        retain_image=leaf(len(retain), COMPONENTS),
        retain_text=leaf(len(retain), COMPONENTS),
        scale=torch.tensor(scale, dtype=dtype, requires_grad=True),
        bias=torch.tensor(bias, dtype=dtype, requires_grad=True),
        forget_captions=torch.tensor(forget),
        retain_captions=torch.tensor(retain),
    )


def teacher_of(seed: int, **options: object) -> Model:
    """A detached model with another scale and bias than `make_features` gives by default."""
    features = make_features(seed, **({"scale": 5.0, "bias": -2.0} | options))
    return features.model(*(leaf.detach() for leaf in features.leaves))


def assert_same_value_and_gradient(
    features: Features, loss: Callable[[Model], Tensor], naive: Callable[[Model], Tensor]
) -> None:
    """Both functions agree in value and in the gradient of every leaf, scale and bias included.

    1e-12: float64, a few dozen additions in another order.
    """
    value, expected = loss(features.model()), naive(features.model())
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(value, features.leaves, allow_unused=True)
    expected_gradients = torch.autograd.grad(expected, features.leaves, allow_unused=True)
    for leaf, got, want in zip(features.leaves, gradients, expected_gradients, strict=True):
        zero = torch.zeros_like(leaf)
        got, want = zero if got is None else got, zero if want is None else want
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def assert_gradcheck(features: Features, loss: Callable[[Model], Tensor]) -> None:
    """The analytic gradient equals finite differences."""
    assert torch.autograd.gradcheck(lambda *leaves: loss(features.model(*leaves)), features.leaves)
