"""Which files belong to a folder and what is in them; written last, checked before reading."""

from __future__ import annotations

import json
from pathlib import Path

from dist_erase.storage import sha256_of_file, write_json

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Lists every file of `folder` with its SHA-256; makes the folder complete."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    write_json(folder / MANIFEST, {str(p.relative_to(folder)): sha256_of_file(p) for p in files})


def what_is_wrong(folder: Path) -> str | None:
    """None if `folder` holds what is listed, unchanged, and nothing else; else the first fault."""
    try:
        listed: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"{MANIFEST} is missing (the writer was interrupted)"
    except ValueError:
        return f"{MANIFEST} is not JSON"
    if not isinstance(listed, dict):
        return f"{MANIFEST} lists no files"
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    for name in sorted(present - {MANIFEST} - listed.keys()):
        return f"{name} is not listed in {MANIFEST}"
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of_file(path) != digest:
            return f"{name} has changed"
    return None
