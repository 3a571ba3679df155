"""From the user's words (name, tag, file, local-dir, JSON) to one model source."""

from __future__ import annotations

import difflib
import json
import logging
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from safetensors import SafetensorError
from torch import nn

from dist_erase.config.model import LOCAL_DIR
from dist_erase.errors import UserError
from dist_erase.models.original import training_command
from dist_erase.models.tokenizer import model_tokenizer

CONFIG_FILE = "open_clip_config.json"
_SHAPE_KEYS = ("embed_dim", "vision_cfg", "text_cfg")
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pth"}  # that open_clip looks for in a local-dir
_DAMAGED = (EOFError, pickle.UnpicklingError)
_UNFIT = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    OSError,
    SafetensorError,
)  # what open_clip raises, depending on what is wrong where


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
        _check_weights(name, model_cfg, pretrained)
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
    except _DAMAGED as error:
        raise _cannot_build(source, "it is damaged, or holds more than tensors") from error
    except _UNFIT as error:
        raise _cannot_build(source, " ".join(str(error).split())[:300]) from error
    finally:
        logging.getLogger().setLevel(level)
    if isinstance(model, open_clip.CoCa):
        raise UserError(
            "model.architecture",
            f"{source.name} is a CoCa model, whose captioning decoder is not covered.",
            "Use a CLIP or SigLIP architecture.",
        )
    return model


def _cannot_build(source: ModelSource, reason: str) -> UserError:
    if source.pretrained is None and not source.name.startswith(LOCAL_DIR):
        return UserError(
            "model.architecture",
            f"open_clip cannot build {source.name}: {reason}.",
            "Compare it with the model files that open_clip brings along.",
        )
    return UserError(
        "model.pretrained",
        f"{source.pretrained or source.name} cannot be loaded: {reason}.",
        "Use weights of this architecture, or fetch them on this machine first.",
    )


def load_tokenizer(source: ModelSource) -> Any:
    """The model's own tokenizer: list of n strings to int64 [n, L]."""
    return model_tokenizer(source.name)


def _architecture_config(architecture: str) -> tuple[str, dict[str, Any]]:
    if architecture.endswith(".json"):
        return _json_config(Path(architecture))
    name = architecture.replace("/", "-")
    known = open_clip.list_models()
    if name not in known:  # open_clip itself would ask the network
        near = difflib.get_close_matches(architecture, known, n=3)
        raise UserError(
            "model.architecture",
            f"open_clip has no architecture {architecture!r}.",
            f"Did you mean {', '.join(near)}?" if near else "Name one, or a model JSON file.",
        )
    return name, open_clip.get_model_config(name)


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
        raise UserError(
            "model.pretrained",
            f"there is no exported model in {folder} ({CONFIG_FILE} is missing).",
            f"If it is to be trained here first: {training_command(folder)}",
        )
    problem = None
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        model_cfg: dict[str, Any] = config["model_cfg"]
    except (json.JSONDecodeError, KeyError, TypeError):
        problem = f"{CONFIG_FILE} of {folder} is not one of open_clip's (no model_cfg)."
    if not any(path.suffix in _WEIGHT_SUFFIXES for path in folder.iterdir()):
        problem = f"{folder} has {CONFIG_FILE} but no weights."  # open_clip would draw new ones
    if problem:
        raise UserError("model.pretrained", problem, "Copy the whole folder again.")
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


def _check_weights(name: str, model_cfg: dict[str, Any], pretrained: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        made_with = open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu", False)
        quick = f"{name}-quickgelu"
        if made_with and not model_cfg.get("quick_gelu") and quick in open_clip.list_models():
            raise UserError(
                "model.architecture",
                f"the weights {pretrained!r} were made with QuickGELU, which {name} does not use: "
                "they load, but see worse.",
                f"Use {quick}.",
            )
        return
    file = Path(pretrained)
    if file.is_file():
        return
    if file.parent.name == "model":
        raise UserError(
            "model.pretrained",
            f"there is no file {file}.",
            f"If it is to be trained here first: {training_command(file.parent)}",
        )
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
