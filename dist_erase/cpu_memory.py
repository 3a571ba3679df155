"""Freed memory stays with a process that computes on a CPU.

glibc gives large blocks back to the system when they are freed. A training step frees and asks for
the same ones each time, and the system zeroes every page of them anew: a tenth of a step.
"""

from __future__ import annotations

import ctypes

_MAP_ABOVE = 2**30  # bytes; larger blocks are the system's own, as before
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_NEVER = -1

# For a process whose work is not done by its main thread (Ray Train's workers): other threads have
# arenas of their own, which give back whatever they are told, so there must be none.
KEPT_IN_ALL_THREADS = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(_MAP_ABOVE),
    "MALLOC_TRIM_THRESHOLD_": str(2**63 - 1),
}


def keep_freed_memory() -> None:
    """From now on, for the main thread; without effect where the C library is not glibc."""
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is not None:
        tell(_M_MMAP_THRESHOLD, _MAP_ABOVE)
        tell(_M_TRIM_THRESHOLD, _NEVER)
