"""What a rank says when it loses the others: one line, instead of gloo's or NCCL's traceback."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from dist_erase.errors import (
    EXIT_BUG,
    EXIT_USER_ERROR,
    LOST_CONTACT,
    InterruptedRunError,
    OtherRankFailedError,
    StopAsked,
    UserError,
    refusal,
)
from dist_erase.orchestration.lost_contact import says_contact_lost
from dist_erase.orchestration.outcome import user_error
from dist_erase.orchestration.run_folder import FAILURE
from dist_erase.storage import write_json
from dist_erase.training.checkpoint import newest_step

_WORD_SECONDS = 3.0  # that a rank which fails has to leave word, on a slow shared folder


class LostRanksError(InterruptedRunError):
    """Another rank, its host or the network is gone; the newest checkpoint stands."""

    def __init__(self, step: int | None, what: str, go_on: str) -> None:
        super().__init__(step, StopAsked("launcher", what), go_on)

    def __str__(self) -> str:
        """The one line that the user reads."""
        stands = "there is no checkpoint" if self.step is None else f"step {self.step} is saved"
        return f"{LOST_CONTACT} ({self.asked.words}); {stands}; {self.go_on}, also on fewer hosts"


def join_ranks(backend: str, *, seconds: float) -> None:
    """Makes torch's process group of the ranks that the launcher started.

    Raises:
        UserError: the port is taken, or not all ranks came together in `seconds`.
    """
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
    except RuntimeError as error:
        host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
        said = " ".join(str(error).split())[-200:]
        if "EADDRINUSE" in str(error):
            raise UserError(
                "--master_port",
                f"port {port} of {host} is taken by another program.",
                "Give another, or start with launchers/deepspeed/launch.py, which finds a free "
                "one.",
            ) from None
        raise UserError(
            "--hostfile",
            f"not all {os.environ.get('WORLD_SIZE')} ranks met at {host}:{port} ({said}).",
            "See that every host reaches that address, and name the network with "
            "GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME in the environment file.",
        ) from error


@contextmanager
def words_of_failure(folder: Path, rank: int, go_on: str) -> Iterator[None]:
    """Inside, a rank trains. An error of its own is noted for those that lose contact.

    Raises:
        LostRanksError: another rank does not answer, and left no word of an error of its own.
        OtherRankFailedError, UserError: what it left.
    """
    try:
        yield
    except (UserError, InterruptedRunError, OtherRankFailedError):
        raise
    except Exception as error:
        if says_contact_lost(error):
            raise _why_lost(folder, error, go_on) from None
        refused = refusal(error)
        words = " ".join((refused or f"{type(error).__name__}: {error}").split())[:500]
        code = EXIT_USER_ERROR if refused else EXIT_BUG
        with suppress(OSError):  # a full disk is what the error may be about
            write_json(folder / FAILURE, {"rank": rank, "error": words, "exit_code": code})
        raise


@contextmanager
def contact(folder: Path, go_on: str) -> Iterator[None]:
    """Inside, the ranks prepare together, and agree on errors; none is noted.

    Raises:
        LostRanksError: another rank does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if says_contact_lost(error):
            raise _why_lost(folder, error, go_on) from None
        raise


def _why_lost(folder: Path, error: Exception, go_on: str) -> Exception:
    deadline = time.monotonic() + _WORD_SECONDS
    while time.monotonic() < deadline:
        found = user_error(folder)
        if found is not None:
            return found
        if (folder / FAILURE).exists():
            word = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
            words = f"rank {word['rank']} failed ({word['error']})"
            if word["exit_code"] == EXIT_BUG:
                words += "; its own output has the traceback"
            return OtherRankFailedError(words, word["exit_code"])
        time.sleep(0.2)
    what = " ".join(str(error).split())
    return LostRanksError(newest_step(folder / "checkpoints"), what[-200:], go_on)
