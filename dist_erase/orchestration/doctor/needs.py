"""What a run will ask of machines, estimated from its configuration without loading anything."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from dist_erase.config.model import LOCAL_DIR
from dist_erase.config.run import NamedRunConfig, PretrainConfig, RunConfig

Config = RunConfig | PretrainConfig
_SLOTS = 3  # parts of images for each data worker, see data/handover.py
_FILES = {".safetensors", ".bin", ".pth", ".pt", ".npz"}  # of weights
_LARGEST_IMAGE = 448  # pixels a side, where the model's size is not known here
_MAX_HEADER = 100 * 2**20  # of a safetensors file
MB, GB = 10**6, 10**9


def run_dir(config: Config | None) -> Path:
    """Where run folders go."""
    return Path((config.run if config else NamedRunConfig()).dir).absolute()


def has_gpu() -> bool:
    """Whether this machine shows a GPU to programs; no library is asked."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def image_bytes(config: Config) -> int:
    """Bytes of the images that all data workers of the run hold ready, at most."""
    if config.data.workers == 0:
        return 0
    if isinstance(config, RunConfig):
        pairs = config.train.forget_batch + config.train.retain_batch
    else:
        pairs = config.train.batch
    side = _image_side(config.model.architecture) or _LARGEST_IMAGE
    return _SLOTS * pairs * 3 * side * side


def _image_side(architecture: str) -> int | None:
    """Of a model JSON; open_clip's own ones are not read here."""
    if not architecture.endswith(".json"):
        return None
    try:
        size = json.loads(Path(architecture).read_text(encoding="utf-8"))["vision_cfg"]
        side = size.get("image_size", 224)
        return max(side) if isinstance(side, list) else int(side)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def weights_path(config: Config) -> Path | None:
    """The file or folder of the original model's weights; None for a tag, or from scratch."""
    pretrained = config.model.pretrained
    if pretrained is None:
        return None
    if pretrained.startswith(LOCAL_DIR):
        return Path(pretrained.removeprefix(LOCAL_DIR))
    path = Path(pretrained)
    names_a_file = os.sep in pretrained or path.suffix in _FILES or path.is_file()
    return path if names_a_file else None


def stored_parameters(config: Config) -> int | None:
    """How many numbers the original model's weights hold; None where only open_clip knows.

    Raises:
        OSError: they cannot be read.
        ValueError: they are damaged.
    """
    path = weights_path(config)
    if path is None:
        return None
    if path.is_dir():
        files = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin"))
        return _numbers_in(files[0]) if files else None
    return _numbers_in(path) if path.is_file() else None


def _numbers_in(path: Path) -> int:
    """By the header of a safetensors file; of another file by its size, as float32."""
    if path.suffix != ".safetensors":
        return path.stat().st_size // 4
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(min(length, _MAX_HEADER)))
    try:
        return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"no header of safetensors: {error}") from error


def checkpoint_bytes(config: Config, parameters: int) -> int:
    """Bytes of one checkpoint: float32 weights, and the optimizer's moments of all of them."""
    moments = 0 if config.train.optimizer == "sgd" else 2
    return parameters * 4 * (1 + moments)


def checkpoints_kept(config: Config) -> int:
    """At once: those kept, the best one, and one being written."""
    keep = config.train.checkpoint
    live = isinstance(config, RunConfig) and config.evaluate.every_steps is not None
    return keep.keep_last + 1 + int(keep.keep_best and live)


def run_bytes(config: Config, parameters: int) -> int:
    """Of the whole run folder: checkpoints, and the exported model."""
    return checkpoints_kept(config) * checkpoint_bytes(config, parameters) + 4 * parameters


def in_words(size: float) -> str:
    """`1.2 GB`, `350 MB`."""
    return f"{size / GB:,.1f} GB" if size >= GB else f"{size / MB:,.0f} MB"
