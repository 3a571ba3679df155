"""Imports of torch, open_clip, DeepSpeed and Ray Train, as quick as they can be."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports inside leave the garbage collector alone.

    They make a million objects that come to stay, and the collector looks at all of them again and
    again: a third of the seconds that a rank takes to import what it needs. Behind the block it
    never looks at them again, so its later rounds are short, too. Where all was imported before,
    nothing is kept from it: what is alive then may become garbage.
    """
    on, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if on:
            gc.enable()
