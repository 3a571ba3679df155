"""The cluster's side of a submitted job: what came with it, and what must be there."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.storage import atomic_path, sha256_of_file

NOTE = "dist-erase-package.json"  # at the top of what a job brings; `jobs.package` writes it
INPUTS = ".inputs"


def settle(config: RunConfig) -> RunConfig:
    """Makes a submitted job's own files last; any other configuration stays as it is.

    Ray unpacks what a job brings into a folder of its own on each node, and deletes it some time
    after the job. So files that the configuration names are copied beside the run folder, where
    every node, a resumed run and later commands find them under one path.

    Raises:
        UserError: an environment variable or a file that the launcher counts on is missing.
    """
    note = Path(NOTE)
    if not note.is_file():
        return config
    brought = json.loads(note.read_text(encoding="utf-8"))
    _check_secrets(brought["secrets"]["env"], brought["secrets"]["files"])
    kept = Path(config.run.dir) / INPUTS
    tree = config.model_dump()
    for section, key in (("model", "architecture"), ("data", "classes")):
        if tree[section][key] in brought["files"]:
            tree[section][key] = str(_keep(Path(tree[section][key]), kept))
    return RunConfig.model_validate(tree)


def _keep(path: Path, folder: Path) -> Path:
    """The copy of a file whose name holds its content's hash; an open_clip name stays its stem."""
    kept = folder / sha256_of_file(path)[:16] / path.name
    if not kept.exists():
        with atomic_path(kept) as temporary:
            temporary.write_bytes(path.read_bytes())
    return kept


def _check_secrets(names: list[str], files: list[str]) -> None:
    host = socket.gethostname()
    for name in names:
        if not os.environ.get(name):
            raise UserError(
                f"secrets.env: {name}",
                f"is not set where the driver runs ({host}).",
                "Set it on every node before `ray start`, on Kubernetes in the pods from a Secret.",
            )
    for file in files:
        if not os.access(file, os.R_OK):
            raise UserError(
                f"secrets.files: {file}",
                f"cannot be read where the driver runs ({host}).",
                "Put it on every node, on Kubernetes as a mounted Secret.",
            )
