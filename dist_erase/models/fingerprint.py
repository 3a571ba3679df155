"""A short name for exactly these weights, this architecture and this preprocessing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dist_erase.batch import ImageSpec


def fingerprint(state: dict[str, Tensor], model_cfg: dict[str, Any], spec: ImageSpec) -> str:
    """Hex SHA-256 over configuration, preprocessing and every tensor's name, dtype and bytes.

    0-d and 1-element tensors hash alike, so that a reshaped logit scale is the same model.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([model_cfg, asdict(spec)], sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tensor.numel()}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
