"""The formats of the files that dist-erase writes, and the page about them.

`make generate` writes it: python -m dist_erase.orchestration.formats > docs/reference/formats.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ALWAYS = "always"
_HEAD = "# File formats\n\nMade by `make generate`; do not edit."


@dataclass(frozen=True)
class Key:
    """One key of a file, dotted; a part in capitals stands for any name.

    Attributes:
        there: `always`, or when.
    """

    name: str
    there: str
    meaning: str


def formats() -> dict[str, tuple[Key, ...]]:
    """The keys of each file by the title of its section, which begins with its name."""
    return {
        section["title"].replace("`", ""): tuple(Key(*row) for row in section["keys"])
        for section in _told()["sections"]
        if "keys" in section
    }


def reference() -> str:
    """The whole page, in Markdown."""
    told = _told()
    parts = [_HEAD, told["head"].strip()]
    for section in told["sections"]:
        parts += [f"## {section['title']}", *_body(section)]
    return "\n\n".join(parts) + "\n"


def _body(section: dict[str, Any]) -> Iterator[str]:
    if "text" in section:
        yield section["text"].strip()
    if "keys" in section:
        name, meaning = section.get("columns", ("key", "meaning"))
        rows = [f"| {name} | there | {meaning} |", "|---|---|---|"]
        rows += [f"| `{key}` | {there} | {what} |" for key, there, what in section["keys"]]
        yield "\n".join(row.replace("|  |", "| |") for row in rows)
    if "after" in section:
        yield section["after"].strip()


def _told() -> dict[str, Any]:
    path = Path(__file__).with_suffix(".yaml")
    told: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return told


if __name__ == "__main__":
    sys.stdout.write(reference())
