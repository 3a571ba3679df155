"""A model folder that every open_clip consumer loads strictly."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from dist_erase.batch import ImageSpec
from dist_erase.models.resolve import CONFIG_FILE
from dist_erase.storage import named, write_json

WEIGHTS_FILE = "open_clip_model.safetensors"


def export_model(
    folder: Path,
    state: dict[str, Tensor],
    *,
    scalar_names: list[str],
    model_cfg: dict[str, Any],
    spec: ImageSpec,
) -> None:
    """Writes weights and configuration to `folder`, replacing it whole.

    Args:
        folder: becomes loadable as `local-dir:FOLDER`.
        state: open_clip's own parameter and buffer names; float32.
        scalar_names: parameters to be 0-d again.
        model_cfg: open_clip's model configuration.
        spec: the preprocessing that the model was trained with.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors = {
        name: (t.reshape(()) if name in scalar_names else t).detach().cpu().contiguous().clone()
        for name, t in state.items()
    }
    with named(folder):
        save_file(tensors, str(temporary / WEIGHTS_FILE))
    preprocess_cfg = {
        "size": [spec.height, spec.width],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "resize_mode": spec.resize_mode,
        "fill_color": spec.fill_color,
    }
    write_json(temporary / CONFIG_FILE, {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
