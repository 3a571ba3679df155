"""Where a data set is made, beside its place: what was interrupted goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from dist_erase.errors import UserError

Kind = Literal["split", "build"]

_LOCK = "lock"
_REPLACED = "replaced"
_FINISHED = "finished"
INDEX = "index"


class Stage:
    """The hidden folder `.NAME.KIND`; parts of it belong to what decides their content.

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
            os.replace(out, self.folder / _REPLACED)
        os.replace(data, out)
        (self.folder / _FINISHED).touch()
        shutil.rmtree(self.folder)


@contextmanager
def open_stage(out: Path, kind: Kind) -> Iterator[Stage]:
    """The stage of `out`, for one process at a time.

    Raises:
        UserError: another process has it.
    """
    out = out.absolute()
    folder = _folder(out, kind)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK).acquire(timeout=0):
            _mend(folder, out)
            try:
                yield Stage(folder)
            except UserError:
                _remove_if_bare(folder)
                raise
            _remove_if_bare(folder)
    except Timeout as error:
        verb = {"split": "splitting", "build": "building"}[kind]
        raise UserError(
            str(out), f"another process is {verb} into it.", "Wait, or name another folder."
        ) from error


def clear_stage(out: Path, kind: Kind) -> None:
    """Removes what a process left that was killed after `out` was in its place.

    Raises:
        UserError: another process has the stage.
    """
    folder = _folder(out.absolute(), kind)
    if (folder / _REPLACED).exists() or (folder / _FINISHED).exists():
        with open_stage(out, kind):
            pass


def _folder(out: Path, kind: Kind) -> Path:
    return out.with_name(f".{out.name}.{kind}")


def _mend(folder: Path, out: Path) -> None:
    """Ends or undoes a replacement in which a process was killed."""
    replaced, finished = folder / _REPLACED, folder / _FINISHED
    if out.exists() and (replaced.exists() or finished.exists()):
        finished.unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
    elif replaced.exists():
        os.replace(replaced, out)


def _remove_if_bare(folder: Path) -> None:
    """Only an index is cheap to make again; nobody wants a hidden folder for it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    if folder.exists() and all(
        path.relative_to(folder).parts[0] in {_LOCK, INDEX} for path in files
    ):
        shutil.rmtree(folder)


def digest(identity: Any) -> str:
    """Hex SHA-256 of JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
