"""Ends a job: by a checkpoint, where Ray alone would give it three seconds."""

from __future__ import annotations

import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dist_erase.data.source.attempts import within
from dist_erase.errors import EXIT_INTERRUPTED, EXIT_STOPPED, UserError
from dist_erase.orchestration.ending import Ending
from dist_erase.orchestration.jobs import stop_file
from dist_erase.orchestration.jobs.command import FOLDER, PYTHON
from dist_erase.orchestration.jobs.follow import FORGOTTEN, ending_of_job

_ANSWER_SECONDS = 30.0
_KILL_SECONDS = 30.0  # Ray's SIGTERM, 3 s, SIGKILL, and its note of it
_POLL_SECONDS = 1.0
_PLACE_SECONDS = 10.0  # Ray cannot end a job that has no place yet, but will
_PENDING = "PENDING"


class _NotBegunError(Exception):
    """The driver is at work, and has made no run folder so far."""


def stop(
    client: Any, job: Any, *, now: bool, seconds: float, reason: str, note: Callable[[str], None]
) -> Ending:
    """Asks the training loop for a checkpoint, waits for it, and sees that the job has ended.

    A job that has not begun has nothing to save, and is ended at once: one that waits for a place,
    and one whose driver still indexes the shards or waits for room.

    Args:
        client: JobSubmissionClient.
        job: JobDetails, of `find`.
        now: do not ask; Ray ends it at once.
        seconds: how long the checkpoint may take.
        reason: goes into the run's own records.
        note: takes lines of progress.

    Returns:
        How the run ended.

    Raises:
        UserError: it was ended without a new checkpoint because it did not write one in time, or
            the run folder is out of reach; then it was left alone.
    """
    name = job.submission_id
    if job.status.is_terminal():
        note(f"{name} has ended already")
        return ending_of_job(job)
    pending = job.status.value == _PENDING
    begun = not pending
    if not now and begun:
        helper = _ask(client, job, seconds, reason)
        note(f"{name}: asked for a checkpoint, waiting up to {seconds:g} s")
        try:
            ended = _wait(client, name, seconds, helper=helper, folder=job.metadata[FOLDER])
            if ended is not None:
                return ending_of_job(ended)
        except _NotBegunError:
            begun = False
        finally:
            _dismiss(client, helper)
    within(_ANSWER_SECONDS, lambda: client.stop_job(name))
    ended = _wait(client, name, _PLACE_SECONDS if pending else _KILL_SECONDS)
    if ended is None and pending:
        words = "waits for a place; Ray ends it as soon as it has one"
        return Ending(exit_code=EXIT_STOPPED, message=words)
    if ended is None:
        raise UserError(
            name,
            f"still runs {_KILL_SECONDS:g} s after Ray was told to end it.",
            "Look at its node; `ray list actors` on the head shows what is left.",
        )
    if not begun:
        return _ending_of_unbegun(ended)
    if now or ending_of_job(ended).exit_code == EXIT_INTERRUPTED:
        return ending_of_job(ended)
    raise UserError(
        "--timeout",
        f"{name} wrote no checkpoint in {seconds:g} s and was ended without one.",
        "`dist-erase run ... --resume` goes on from its newest one; give a longer --timeout next "
        "time.",
    )


def _ending_of_unbegun(ended: Any) -> Ending:
    """What is said of other jobs that Ray stopped is not true here: there is no checkpoint."""
    end = ending_of_job(ended)
    if end.exit_code != EXIT_STOPPED:
        return end
    words = "ended before the run had begun; there was nothing to save"
    return Ending(exit_code=EXIT_STOPPED, message=words)


def _ask(client: Any, job: Any, seconds: float, reason: str) -> str:
    """Starts the small job that leaves the request where the driver runs; gives its id."""
    folder = (job.metadata or {}).get(FOLDER)
    if not folder:
        raise UserError(job.submission_id, "is no run of dist-erase.", "`ray job stop` ends it.")
    with tempfile.TemporaryDirectory(prefix="dist-erase-stop-") as package:
        shutil.copy(stop_file.__file__, package)
        words = (job.metadata.get(PYTHON, "python"), Path(stop_file.__file__).name)
        asked: str = within(
            2 * _ANSWER_SECONDS,
            lambda: client.submit_job(
                entrypoint=shlex.join([*words, folder, f"{seconds:g}", reason]),
                submission_id=f"{job.submission_id}-stop-{secrets.token_hex(2)}",
                runtime_env={"working_dir": package},
            ),
        )
    return asked


def _wait(
    client: Any, name: str, seconds: float, *, helper: str | None = None, folder: str = ""
) -> Any:
    """JobDetails once the job has ended; None if it has not in time.

    A cluster that does not answer for a while is asked again; the error of one that is silent when
    the time is up is raised, since nobody knows then how the job stands.

    Raises:
        _NotBegunError: there is no run yet that `helper` could leave the request with.
        UserError: `helper` cannot leave it.
    """
    end = time.monotonic() + seconds
    silence: Exception | None = None
    while time.monotonic() < end:
        try:
            info = within(_ANSWER_SECONDS, lambda: client.get_job_info(name))
            if info.status.is_terminal():
                return info
            if helper is not None:
                asked = within(_ANSWER_SECONDS, lambda: client.get_job_info(helper))
                if asked.status.is_terminal() and asked.driver_exit_code == stop_file.NOT_STARTED:
                    raise _NotBegunError
                if asked.status.is_terminal() and asked.driver_exit_code != 0:
                    raise _out_of_reach(folder, asked)
            silence = None
        except (OSError, RuntimeError) as error:
            if FORGOTTEN in str(error):
                raise
            silence = error
        time.sleep(_POLL_SECONDS)
    if silence is not None:
        raise silence
    return None


def _out_of_reach(folder: str, asked: Any) -> UserError:
    said = (asked.message or "").strip().splitlines()
    return UserError(
        folder,
        f"the request for a checkpoint cannot be left there ({said[-1] if said else 'no word'}).",
        "The head node must see the run folder; --now ends the job without a checkpoint.",
    )


def _dismiss(client: Any, helper: str) -> None:
    """Ends the small job and takes it off the cluster's list; it is no harm if it stays."""
    try:
        within(_ANSWER_SECONDS, lambda: client.stop_job(helper))
        end = time.monotonic() + _KILL_SECONDS
        while time.monotonic() < end:
            if within(_ANSWER_SECONDS, lambda: client.get_job_status(helper)).is_terminal():
                within(_ANSWER_SECONDS, lambda: client.delete_job(helper))
                return
            time.sleep(0.5)
    except (OSError, RuntimeError):
        return
