"""Runs a function on N real gloo ranks on this machine; a failure shows every rank's traceback."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

GRACE_SECONDS = 5.0
_COSTLY = ("torch.distributed", "open_clip", "deepspeed")
_COMPILER = "torch._dynamo"  # torch's optimizers import it at their first call


class RanksFailedError(AssertionError):
    """At least one rank failed; the message holds what each rank said."""


def run_ranks(
    function: Callable[..., Any], ranks: int, *args: Any, timeout_seconds: float = 120.0
) -> list[Any]:
    """Calls `function(rank, *args)` in `ranks` processes that form one gloo group.

    In each process the default process group is initialised (file store, no port), one thread
    is used, and RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE are set. The processes come
    from a fork server that has imported torch once (and, if the test's process had when the
    first ranks were started, what else costs seconds), so that a start costs little; they share
    nothing with the test's process.

    Args:
        function: importable (defined at the top of a module), not a lambda or closure.
        ranks: how many processes.
        args: picklable; each rank gets its own copy.
        timeout_seconds: for all ranks together.

    Returns:
        The (pickled) return values in rank order.

    Raises:
        RanksFailedError: a rank raised, died or did not end in time. Once one has failed the
            others get a few seconds to fail too (a lost partner makes collectives fail), then
            they are killed.
    """
    context = multiprocessing.get_context("forkserver")
    costly = [name for name in _COSTLY if name in sys.modules]
    compiler = [_COMPILER] if "deepspeed" in costly else []
    context.set_forkserver_preload(["torch", *costly, *compiler])
    job = pickle.dumps((function, args))  # plain pickle: no tensors in shared memory
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        processes, pipes = [], []
        for rank in range(ranks):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_rank_main, args=(theirs, store, rank, ranks, job, timeout_seconds)
            )
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        try:
            answers = _collect(pipes, timeout_seconds)
        finally:
            for process in processes:
                process.join(1.0)
                if process.is_alive():
                    process.kill()
                    process.join()
    if all(ok for ok, _ in answers):
        return [pickle.loads(value) for _, value in answers]
    said = [
        f"--- rank {rank} of {ranks}: {'ended well' if ok else value}"
        for rank, (ok, value) in enumerate(answers)
    ]
    raise RanksFailedError("\n".join([f"{function.__name__} failed on some ranks", *said]))


def _collect(pipes: list[Connection], timeout_seconds: float) -> list[tuple[bool, Any]]:
    """(True, pickled value) or (False, what went wrong) for each rank."""
    answers: dict[int, tuple[bool, Any]] = {}
    deadline = time.monotonic() + timeout_seconds
    while len(answers) < len(pipes):
        left = [pipe for rank, pipe in enumerate(pipes) if rank not in answers]
        ready = wait(left, max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        for pipe in ready:
            rank = pipes.index(pipe)
            try:
                answers[rank] = pipe.recv()
            except EOFError:
                answers[rank] = (False, "died without a word (killed, or a crash)")
            if not answers[rank][0]:
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
    silent = (False, "did not end in time and was killed")
    return [answers.get(rank, silent) for rank in range(len(pipes))]


def _rank_main(
    pipe: Connection, store: Path, rank: int, ranks: int, job: bytes, timeout_seconds: float
) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks)
    )
    torch.set_num_threads(1)
    try:
        function, args = pickle.loads(job)
        # What is imported is no garbage; each engine of stage 3 collects, 0.5 s with all of it.
        gc.freeze()
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout_seconds),
        )
        answer = (True, pickle.dumps(function(rank, *args)))
        dist.barrier()  # nobody closes its sockets while a partner still needs them
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - whatever it was, the test's process reports it
        answer = (False, traceback.format_exc())
    pipe.send(answer)
    pipe.close()
