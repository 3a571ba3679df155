"""Captions from prompt templates, and the class names that users type."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dist_erase.config.nearest import did_you_mean
from dist_erase.errors import UserError


def caption_for(name: str, templates: Sequence[str], *, seed: int, key: str) -> str:
    """The class name in a template that only (seed, key) decide."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return templates[int.from_bytes(digest) % len(templates)].format(name)


def class_numbers(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Numbers of the classes called `names`, each once; `maple_tree` and `maple tree` are one.

    Raises:
        UserError: an unknown name, or every class, or none.
    """
    numbers: list[int] = []
    for name in names:
        spaced = name.strip().replace("_", " ")
        if spaced not in classes:
            raise UserError(
                "--forget",
                f"no class is called {name!r}.",
                f"{did_you_mean(spaced, classes)}The classes are: {', '.join(classes)}.",
            )
        if (number := classes.index(spaced)) not in numbers:
            numbers.append(number)
    if not 0 < len(numbers) < len(classes):
        raise UserError(
            "--forget",
            f"{len(numbers)} of {len(classes)} classes would be forgotten.",
            "Name at least one class, and leave at least one to retain.",
        )
    return numbers
