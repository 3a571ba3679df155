"""Where a split keeps what it has done, beside the data set: an interrupted one goes on from it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dist_erase.errors import UserError

_LOCK = "lock"
INDEX = "index"


class Stage:
    """The hidden folder `.NAME.split`; parts of it belong to what decides their content.

    So other options find what still holds for them: another cut needs no new embeddings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part(self, name: str, identity: Any) -> Path:
        """A folder for results that follow from `identity` (JSON)."""
        path = self.folder / f"{name}-{digest(identity)[:16]}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, data: Path, out: Path) -> None:
        """`data` takes the place of `out`, and everything else here goes."""
        if out.exists():
            old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old.tmp")
            os.replace(out, old)
            os.replace(data, out)
            shutil.rmtree(old)
        else:
            os.replace(data, out)
        shutil.rmtree(self.folder)


@contextmanager
def open_stage(out: Path) -> Iterator[Stage]:
    """The stage of `out`, for one process at a time.

    Raises:
        UserError: another process has it.
    """
    out = out.absolute()
    folder = out.with_name(f".{out.name}.split")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK).acquire(timeout=0):
            try:
                yield Stage(folder)
            except UserError:
                _remove_if_bare(folder)
                raise
            _remove_if_bare(folder)
    except Timeout as error:
        raise UserError(
            str(out), "another process is splitting into it.", "Wait, or name another folder."
        ) from error


def _remove_if_bare(folder: Path) -> None:
    """Only an index is cheap to make again; nobody wants a hidden folder for it."""
    if folder.exists() and {path.name for path in folder.iterdir()} <= {_LOCK, INDEX}:
        shutil.rmtree(folder)


def digest(identity: Any) -> str:
    """Hex SHA-256 of JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
