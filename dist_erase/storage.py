"""Whole files or none: atomic writes, checksums and named refusals on a POSIX path."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, renamed to `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Inside, one path is written. A full disk tells only what happened; this adds where.

    Raises:
        OSError: what the system refused, with a name. safetensors has its error as text only.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:  # not refused by the system, so a bug
            raise
        code = int(found[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def boot_id() -> str:
    """The same for all processes of a machine until it is started again; "" if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) so that readers see the old file or the new one."""
    with named(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def append_json_line(path: Path, value: Any) -> None:
    """Adds one line to a file of one JSON value a line, made where there is none."""
    with named(path), path.open("ab") as stream:
        stream.write(json.dumps(value).encode() + b"\n")


def end_whole_line(path: Path) -> None:
    """Ends the half line of a process that was killed, before others are appended."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


def read_json_lines(path: Path) -> list[Any]:
    """The whole lines of a file of one JSON value a line; [] where there is no file."""
    values = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # half a line of a killed process
    return values


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
