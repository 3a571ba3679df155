"""What the system has to zero again when a process frees and takes the same memory again."""

import os
import subprocess
import sys

import pytest

from dist_erase.cpu_memory import KEPT_IN_ALL_THREADS

PAGES_OF_A_ROUND = 40 * 2**20 // 4096
ROUNDS = 10
WORK = f"""
import ctypes, resource, sys, threading
from dist_erase.cpu_memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def work():
    begun = None
    for _ in range({ROUNDS} + 1):
        block = libc.malloc(40 * 2**20)
        ctypes.memset(block, 1, 40 * 2**20)
        libc.free(block)
        if begun is None:  # the first time it must come from the system
            begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)

if "keep" in sys.argv:
    keep_freed_memory()
if "thread" in sys.argv:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
else:
    work()
"""


def pages_zeroed(*words: str, **environment: str) -> int:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", WORK, *words]
    done = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_the_main_thread_keeps_what_it_frees():
    assert pages_zeroed() >= ROUNDS * PAGES_OF_A_ROUND
    assert pages_zeroed("keep") < PAGES_OF_A_ROUND


@pytest.mark.parametrize("where", ["main", "thread"])
def test_with_the_environment_every_thread_does(where):
    assert pages_zeroed(where) >= ROUNDS * PAGES_OF_A_ROUND
    assert pages_zeroed(where, **KEPT_IN_ALL_THREADS) < PAGES_OF_A_ROUND
