"""From the user's words (name, tag, file, local-dir, JSON) to one model source."""

from __future__ import annotations

import difflib
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from torch import nn

from dist_erase.errors import UserError

LOCAL_DIR = "local-dir:"
CONFIG_FILE = "open_clip_config.json"
_SHAPE_KEYS = ("embed_dim", "vision_cfg", "text_cfg")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """What open_clip is asked for.

    Attributes:
        name: an architecture known to open_clip, or `local-dir:PATH`.
        pretrained: a weights tag or a checkpoint file; None with local-dir or from scratch.
        model_cfg: open_clip's model configuration, as it is exported again.
    """

    name: str
    pretrained: str | None
    model_cfg: dict[str, Any]


def resolve(architecture: str, pretrained: str | None) -> ModelSource:
    """Checks architecture and weights without building the model.

    Raises:
        UserError: unknown architecture or tag, missing file, or weights of another architecture.
    """
    if pretrained is not None and pretrained.startswith(LOCAL_DIR):
        folder = Path(pretrained.removeprefix(LOCAL_DIR))
        model_cfg = _local_dir_config(folder)
        _same_architecture(model_cfg, _architecture_config(architecture)[1], architecture, folder)
        return ModelSource(name=f"{LOCAL_DIR}{folder}", pretrained=None, model_cfg=model_cfg)
    name, model_cfg = _architecture_config(architecture)
    if pretrained is not None:
        _check_weights(name, pretrained)
    return ModelSource(name=name, pretrained=pretrained, model_cfg=model_cfg)


def build(source: ModelSource) -> nn.Module:
    """The model in float32 on the CPU, weights loaded strictly.

    Raises:
        UserError: the weights do not fit, or cannot be fetched.
    """
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs each loading step on the root
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: nn.Module = open_clip.create_model(
                source.name, pretrained=source.pretrained, output_dict=True
            )
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            "model.pretrained",
            f"{source.pretrained or source.name} cannot be loaded into {source.name}: {reason}",
            "Use weights of this architecture, or fetch them on this machine first.",
        ) from error
    finally:
        logging.getLogger().setLevel(level)
    if isinstance(model, open_clip.CoCa):
        raise UserError(
            "model.architecture",
            f"{source.name} is a CoCa model, whose captioning decoder is not covered.",
            "Use a CLIP or SigLIP architecture.",
        )
    return model


def load_tokenizer(source: ModelSource) -> Any:
    """The model's own tokenizer: list of n strings to int64 [n, L]."""
    return open_clip.get_tokenizer(source.name)


def _architecture_config(architecture: str) -> tuple[str, dict[str, Any]]:
    if architecture.endswith(".json"):
        return _json_config(Path(architecture))
    model_cfg = open_clip.get_model_config(architecture.replace("/", "-"))
    if model_cfg is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), n=3)
        raise UserError(
            "model.architecture",
            f"open_clip has no architecture {architecture!r}.",
            f"Did you mean {', '.join(near)}?" if near else "Name one, or a model JSON file.",
        )
    return architecture.replace("/", "-"), model_cfg


def _json_config(path: Path) -> tuple[str, dict[str, Any]]:
    if not path.is_file():
        near = ", ".join(sorted(str(p) for p in path.parent.glob("*.json"))[:5])
        raise UserError(
            "model.architecture",
            f"there is no file {path}.",
            f"Model files there: {near}." if near else "Give the path of a model JSON.",
        )
    try:
        model_cfg: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError("model.architecture", f"{path} is not JSON: {error}.", "Mend it.") from None
    missing = [key for key in _SHAPE_KEYS if key not in model_cfg]
    if missing:
        raise UserError(
            "model.architecture", f"{path} lacks {', '.join(missing)}.", "Add what open_clip needs."
        )
    known = open_clip.get_model_config(path.stem)
    if known is not None and known != model_cfg:
        raise UserError(
            "model.architecture",
            f"{path} has the name of another open_clip architecture, {path.stem}.",
            "Rename the file.",
        )
    open_clip.add_model_config(path)
    return path.stem, model_cfg


def _local_dir_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG_FILE).is_file():
        run = folder.parent
        raise UserError(
            "model.pretrained",
            f"there is no exported model in {folder} ({CONFIG_FILE} is missing).",
            "If it is to be trained here first: dist-erase pretrain CONFIG "
            f"run.dir={run.parent} run.name={run.name}",
        )
    config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    model_cfg: dict[str, Any] = config["model_cfg"]
    return model_cfg


def _same_architecture(
    found: dict[str, Any], asked: dict[str, Any], architecture: str, folder: Path
) -> None:
    differing = [key for key in _SHAPE_KEYS if found.get(key) != asked.get(key)]
    if differing:
        key = differing[0]
        raise UserError(
            "model.pretrained",
            f"{folder} holds another architecture than {architecture}: {key} is {found.get(key)} "
            f"there, {asked.get(key)} here.",
            "Set model.architecture to the one that the weights were made with.",
        )


def _check_weights(name: str, pretrained: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        return
    if Path(pretrained).is_file():
        return
    near = difflib.get_close_matches(pretrained, tags, n=3) or tags[:5]
    raise UserError(
        "model.pretrained",
        f"{pretrained!r} is neither a weights tag of {name} nor a file.",
        f"Tags: {', '.join(near)}." if near else "Give a checkpoint file or local-dir:PATH.",
    )


def reshape_scalars(model: nn.Module) -> list[str]:
    """Makes each 0-d parameter 1-d, in place; returns their names.

    DeepSpeed 0.19.8 cannot broadcast 0-d parameters (`logit_scale`, `logit_bias`).
    """
    names = [name for name, p in model.named_parameters() if p.ndim == 0]
    for name in names:
        owner = model.get_submodule(name.rpartition(".")[0])
        old = model.get_parameter(name)
        new = nn.Parameter(old.detach().reshape(1), requires_grad=old.requires_grad)
        setattr(owner, name.rpartition(".")[2], new)
    return names


def family_of(model: nn.Module) -> Literal["softmax", "sigmoid"]:
    """`sigmoid` for SigLIP models (those with a logit bias), else `softmax`."""
    return "softmax" if getattr(model, "logit_bias", None) is None else "sigmoid"


def exp_scale(model: nn.Module) -> float:
    """exp(logit_scale) as a plain number."""
    scale: torch.Tensor = model.logit_scale  # type: ignore[assignment]
    return float(scale.detach().float().exp())
