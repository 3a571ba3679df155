"""Whether the original model's files are here: those that need no library to find."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dist_erase.orchestration.doctor.needs import (
    Config,
    in_words,
    stored_parameters,
    weights_path,
)
from dist_erase.orchestration.doctor.row import Row, fail, ok

_CONFIG = "open_clip_config.json"
_SUFFIXES = {".safetensors", ".bin", ".pth"}


def check_model_files(config: Config) -> Iterator[Row]:
    """The model JSON, and the folder or file of weights; a tag is asked about elsewhere."""
    architecture = Path(config.model.architecture)
    if architecture.suffix == ".json":
        try:
            json.loads(architecture.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found = f"{architecture} cannot be read ({error})"
            yield fail("model.architecture", found, "Give every node that file under that path.")
    path = weights_path(config)
    if path is None:
        return
    problem = _folder_problem(path) if path.is_dir() else None
    if not path.exists():
        problem = "there is no such file or folder"
    if problem is None:
        try:
            count = stored_parameters(config) or 0
        except (OSError, ValueError) as error:
            problem = f"it cannot be read ({error})"
    if problem is not None:
        mend = "Copy the model to that path on every node, or train one: dist-erase pretrain CONFIG"
        yield fail("model weights", f"{path}: {problem}", mend)
    else:
        yield ok("model weights", f"{path} ({count / 1e6:,.1f} M parameters, {_size(path)})")


def check_classes(config: Config) -> Iterator[Row]:
    """The file of class names, where one is named."""
    if config.data.classes is None:
        return
    try:
        names = json.loads(Path(config.data.classes).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found, mend = f"{config.data.classes} cannot be read ({error})", "Mend data.classes."
        yield fail("data.classes", found, f"{mend} Every node reads it under that path.")
    else:
        yield ok("data.classes", f"{config.data.classes} ({len(names):,} names)")


def _folder_problem(folder: Path) -> str | None:
    if not (folder / _CONFIG).is_file():
        return f"{_CONFIG} is missing"
    if not any(path.suffix in _SUFFIXES for path in folder.iterdir()):
        return "it holds no weights"
    return None


def _size(path: Path) -> str:
    files = path.iterdir() if path.is_dir() else [path]
    return in_words(sum(file.stat().st_size for file in files if file.suffix in _SUFFIXES) or 0)
