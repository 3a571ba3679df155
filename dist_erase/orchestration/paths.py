"""Relative paths made absolute once, so that every process of a run reads the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from dist_erase.config.data import runs_a_command
from dist_erase.config.model import LOCAL_DIR
from dist_erase.config.run import PretrainConfig, RunConfig

Config = TypeVar("Config", RunConfig, PretrainConfig)


def absolute(config: Config) -> Config:
    """The same configuration with every local path absolute, seen from the current folder."""
    tree = config.model_dump()
    tree["run"]["dir"] = str(Path(tree["run"]["dir"]).absolute())
    model = tree["model"]
    if model["architecture"].endswith(".json"):
        model["architecture"] = str(Path(model["architecture"]).absolute())
    pretrained = model.get("pretrained")
    if pretrained and pretrained.startswith(LOCAL_DIR):
        model["pretrained"] = LOCAL_DIR + str(Path(pretrained.removeprefix(LOCAL_DIR)).absolute())
    elif pretrained and Path(pretrained).is_file():
        model["pretrained"] = str(Path(pretrained).absolute())
    if tree["data"]["classes"]:
        tree["data"]["classes"] = str(Path(tree["data"]["classes"]).absolute())
    cache = tree["data"]["block_cache"]
    if cache["dir"]:
        cache["dir"] = str(Path(cache["dir"]).absolute())
    if tree["observe"]["web_config"]:
        tree["observe"]["web_config"] = str(Path(tree["observe"]["web_config"]).absolute())
    _make_shards_absolute(tree["data"])
    return type(config).model_validate(tree)


def _make_shards_absolute(tree: dict[str, Any]) -> None:
    for key, value in tree.items():
        if key == "shards":
            patterns = [value] if isinstance(value, str) else value
            tree[key] = [p if _is_no_path(p) else str(Path(p).absolute()) for p in patterns]
        elif isinstance(value, dict):
            _make_shards_absolute(value)


def _is_no_path(pattern: str) -> bool:
    return "://" in pattern or runs_a_command(pattern)
