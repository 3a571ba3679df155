"""Names of samples in a report, and their hashes in their place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import escape

from dist_erase.orchestration.evidence import REPORT_HTML, REPORT_JSON
from dist_erase.storage import sha256_of_file, write_json, write_text

_MARK = "blake2b:"


def hashed(name: str) -> str:
    """`blake2b:` and 32 hexadecimal digits; who knows the name can check it, nobody reads it."""
    return _MARK + hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def names_in(folder: Path) -> frozenset[str]:
    """Names (SHARD/KEY) of forget pairs, and of retain pairs with their images, in the report."""
    path = folder / REPORT_JSON
    if not path.exists():
        return frozenset()
    report = json.loads(path.read_text(encoding="utf-8"))
    return frozenset(name for name in _names(report) if not name.startswith(_MARK))


def replace_names(folder: Path, names: frozenset[str]) -> dict[str, dict[str, str]]:
    """Puts hashes in the place of names, in report.json and report.html.

    Returns:
        SHA-256 of each file `before` and `after`.
    """
    digests: dict[str, dict[str, str]] = {}
    # report.html first: the names are known from report.json, should this be cut short.
    for file, replace in ((REPORT_HTML, _replace_in_page), (REPORT_JSON, _replace_in_json)):
        path = folder / file
        if path.exists():
            before = sha256_of_file(path)
            replace(path, names)
            digests[file] = {"before": before, "after": sha256_of_file(path)}
    return digests


def _names(report: dict[str, Any]) -> Iterator[str]:
    yield from report["forget_never_read"]
    for pair in report["overlap"].get("examples", ()):
        yield from pair


def _replace_in_json(path: Path, names: frozenset[str]) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    report["forget_never_read"] = [_hash_once(name) for name in report["forget_never_read"]]
    if "examples" in report["overlap"]:
        pairs = report["overlap"]["examples"]
        report["overlap"]["examples"] = [[_hash_once(name) for name in pair] for pair in pairs]
    write_json(path, report)


def _replace_in_page(path: Path, names: frozenset[str]) -> None:
    page = path.read_text(encoding="utf-8")
    for name in sorted(names, key=len, reverse=True):  # one may begin another
        page = page.replace(str(escape(name)), hashed(name))
    write_text(path, page)


def _hash_once(name: str) -> str:
    return name if name.startswith(_MARK) else hashed(name)
