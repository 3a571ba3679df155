"""Imports of torch, open_clip, DeepSpeed and Ray Train, as quick as they can be."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports inside leave the garbage collector alone.

    They make a million objects that come to stay, and the collector looks at all of them again and
    again: a third of the seconds that a rank takes to import what it needs. Behind the block it
    never looks at them again, so its later rounds are short, too.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if on:
            gc.enable()
