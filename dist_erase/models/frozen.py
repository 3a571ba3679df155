"""A model that is only asked: the teacher, and both sides of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dist_erase.batch import Embeddings, ImageSpec
from dist_erase.config.model import ModelConfig
from dist_erase.models.fingerprint import fingerprint
from dist_erase.models.preprocess import image_spec, normalise
from dist_erase.models.resolve import build, exp_scale, family_of, load_tokenizer, resolve

Dtype = Literal["bf16", "fp32"]


class FrozenClip:
    """An open_clip model in inference mode.

    Args:
        model: built by `models.resolve.build`.
        tokenizer: list of n strings to int64 [n, L].
        model_cfg: open_clip's model configuration.
        dtype: of the forward; answers are float32.
        device: where the model runs.
        micro_batch: pairs per forward. The cut does not depend on load, so answers repeat.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        model_cfg: dict[str, Any],
        *,
        dtype: Dtype,
        device: str,
        micro_batch: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.model_cfg = model_cfg
        self.image_spec: ImageSpec = image_spec(model)
        self.fingerprint = fingerprint(dict(model.state_dict()), model_cfg, self.image_spec)
        self.family = family_of(model)
        self.logit_scale = exp_scale(model)
        bias: Tensor | None = getattr(model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias.detach())
        self._device = torch.device(device)
        self._dtype = dtype
        self._micro_batch = micro_batch
        self._model: Any = model.eval().requires_grad_(False).to(self._device)

    def encode(self, images: Tensor, tokens: Tensor) -> Embeddings:
        """Embeds pairs.

        Args:
            images: uint8 [n, 3, H, W].
            tokens: int64 [n, L].

        Returns:
            L2-normalised float32 on the CPU.
        """
        return Embeddings(image=self.encode_images(images), text=self.encode_text(tokens))

    def encode_images(self, images: Tensor) -> Tensor:
        """Embeds uint8 [n, 3, H, W] to L2-normalised float32 [n, D] on the CPU."""
        parts = [self._encode_image(chunk) for chunk in torch.split(images, self._micro_batch)]
        return torch.cat(parts)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeds captions: int64 [n, L] to L2-normalised float32 [n, D] on the CPU.

        Equal captions go through the tower once.
        """
        distinct, place = torch.unique(tokens, dim=0, return_inverse=True)
        parts = []
        for chunk in torch.split(distinct, self._micro_batch):
            with torch.inference_mode(), self._autocast():
                text = self._model.encode_text(chunk.to(self._device), normalize=True)
            parts.append(text.float().cpu())
        # Inference tensors cannot enter autograd, and these become constants of a loss.
        return torch.cat(parts)[place]

    def _encode_image(self, images: Tensor) -> Tensor:
        with torch.inference_mode(), self._autocast():
            pixels = normalise(images, self.image_spec, self._device)
            features: Tensor = self._model.encode_image(pixels, normalize=True)
        return features.float().cpu().clone()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, dtype=torch.bfloat16, enabled=self._dtype == "bf16"
        )


def load_frozen(config: ModelConfig, *, dtype: Dtype, device: str, micro_batch: int) -> FrozenClip:
    """Loads the model that `config` names.

    Raises:
        UserError: architecture or weights are unknown, missing, or do not fit.
    """
    source = resolve(config.architecture, config.pretrained)
    return FrozenClip(
        build(source),
        load_tokenizer(source),
        source.model_cfg,
        dtype=dtype,
        device=device,
        micro_batch=micro_batch,
    )
