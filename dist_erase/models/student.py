"""The model that is changed: built for training, with what may change and what may not."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dist_erase.batch import ImageSpec
from dist_erase.models.preprocess import image_spec, normalise
from dist_erase.models.resolve import ModelSource, build, family_of, reshape_scalars

MAX_LOGIT_SCALE = math.log(100)  # of a trained one; CLIP, section 2.5


class Student(nn.Module):
    """An open_clip model under training.

    Args:
        source: what to build.
        precision: of the forward; parameters stay float32.
        logit_scale: `frozen` or `trained`; the logit bias follows it.
        towers: which tower's parameters change.
        freeze_statistics: BatchNorm and stochastic layers in evaluation mode.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        precision: Literal["bf16", "fp32"],
        logit_scale: Literal["frozen", "trained"],
        towers: Literal["both", "image", "text"] = "both",
        freeze_statistics: bool = True,
    ) -> None:
        super().__init__()
        self.clip: Any = build(source)
        self.source = source
        self.image_spec: ImageSpec = image_spec(self.clip)
        clip: Any = self.clip
        self.context_length: int = clip.context_length
        self.family = family_of(self.clip)
        self.scalar_names = reshape_scalars(self.clip)
        self._precision = precision
        self._freeze_statistics = freeze_statistics
        self._choose_trainable(logit_scale, towers)

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embeds a micro-batch.

        Args:
            images: uint8 [n, 3, H, W] on the CPU.
            tokens: int64 [n, L] on the CPU.

        Returns:
            float32 image [n, D], text [n, D] (both L2-normalised), exp(logit_scale) 0-d,
            logit bias 0-d (0 where the model has none).
        """
        device = self.clip.logit_scale.device
        # Class captions repeat within a batch: each distinct one goes through the tower once.
        unique, inverse = torch.unique(tokens, dim=0, return_inverse=True)
        pixels = normalise(images, self.image_spec, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            out = self.clip(pixels, unique.to(device, non_blocking=True))
        text = out["text_features"].float()[inverse.to(device)]
        scale = out["logit_scale"].float().reshape(())
        bias = out.get("logit_bias")
        bias = torch.zeros_like(scale) if bias is None else bias.float().reshape(())
        return out["image_features"].float(), text, scale, bias

    def train(self, mode: bool = True) -> Student:
        """As in torch, except that frozen statistics stay frozen."""
        super().train(mode)
        if self._freeze_statistics:
            self.clip.eval()
        return self

    def _choose_trainable(self, logit_scale: str, towers: str) -> None:
        for name, parameter in self.clip.named_parameters():
            if name in ("logit_scale", "logit_bias"):
                parameter.requires_grad_(logit_scale == "trained" and parameter.requires_grad)
            elif towers != "both":
                tower = "image" if name.startswith("visual.") else "text"
                parameter.requires_grad_(tower == towers and parameter.requires_grad)
