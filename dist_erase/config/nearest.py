"""The name a user probably meant, for messages about unknown keys, classes and files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid name most similar to `word`; None where none is similar."""
    return next(iter(difflib.get_close_matches(word, list(valid), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """`Did you mean NAME? ` where a valid name is similar to `word`, else the empty string."""
    match = nearest(word, valid)
    return f"Did you mean {match}? " if match else ""
