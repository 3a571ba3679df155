"""Waits for a job, shows what it says, and tells how it ended by its status alone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from dist_erase.data.source.attempts import within
from dist_erase.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_NOT_KNOWN,
    EXIT_STOPPED,
    EXIT_USER_ERROR,
)
from dist_erase.orchestration.ending import Ending, ending_of_code
from dist_erase.orchestration.jobs.log import JobLog

Say = Callable[[str], None]
_STATUS_SECONDS = 2.0
_ANSWER_SECONDS = 15.0
_LOST_SECONDS = 10.0  # a shorter silence is nobody's concern
_GIVE_UP_SECONDS = 300.0
_LAST_TRIES = 5
_NO_ENVIRONMENT = "RUNTIME_ENV_SETUP_FAILURE"  # in Ray's words
_ERROR = re.compile(r"^\w+(?:Error|Exception): .+", re.M)
FORGOTTEN = "status code 404"  # in what Ray's client says of a job that is not known


def follow(
    client: Any,
    job: str,
    *,
    show: Say | None,
    note: Say,
    give_up_seconds: float = _GIVE_UP_SECONDS,
    log: JobLog | None = None,
) -> Ending:
    """Waits until the job has ended.

    Args:
        client: JobSubmissionClient.
        job: submission id.
        show: takes the job's own output; None = it is not fetched.
        note: takes lines about the job, and about a server that does not answer.
        give_up_seconds: how long the server may stay silent.
        log: reads the output; None = a new one.

    Returns:
        How it ended; exit code 4 where nobody can say.
    """
    log = log or JobLog(client, job)
    heard, asked, status, lost = time.monotonic(), 0.0, None, False
    while True:
        if show is None:
            time.sleep(1.0)
        elif text := log.take(1.0):
            show(text)
        if time.monotonic() - asked < _STATUS_SECONDS:
            continue
        asked = time.monotonic()
        try:
            info = within(_ANSWER_SECONDS, lambda: client.get_job_info(job))
        except (OSError, RuntimeError) as error:
            if FORGOTTEN in str(error):
                return _unknown(f"the cluster knows no job {job} any more; was it restarted?")
            if time.monotonic() - heard > give_up_seconds:
                return _unknown(f"no answer for {give_up_seconds:g} s; the job may still run")
            if not lost and time.monotonic() - heard > _LOST_SECONDS:
                note(f"no answer from the cluster; {job} may go on, trying again")
                lost = True
            continue
        heard = time.monotonic()
        if lost:
            note("the cluster answers again")
            lost = False
        if info.status != status and show is None:
            note(f"{job}: {info.status.lower()}")
        status = info.status
        if info.status.is_terminal():
            if show is not None:
                show(log.rest(_whole_log(client, job, note)))
            return ending_of_job(info)


def ending_of_job(info: Any) -> Ending:
    """How a job ended, from Ray's JobDetails: by the driver's exit code where it had one."""
    status = str(info.status.value)
    if status == "SUCCEEDED":
        return ending_of_code(EXIT_DONE)
    if status == "STOPPED":
        words = "stopped by Ray; --resume continues from the newest checkpoint"
        return Ending(exit_code=EXIT_STOPPED, message=words)
    if info.driver_exit_code is not None and info.driver_exit_code > 0:
        return ending_of_code(info.driver_exit_code)
    told = info.message or "Ray does not say why"
    if info.error_type == _NO_ENVIRONMENT:
        first = _ERROR.search(told)  # what follows from it comes behind it
        return Ending(
            exit_code=EXIT_USER_ERROR,
            message="nothing ran: the node of its driver could not unpack what came with it "
            f"({_line(first[0] if first else told)}); runtime_env_setup-*.log there says more",
        )
    why = _line(told)
    return Ending(
        exit_code=EXIT_BUG,
        message=f"failed ({why}); if it had begun, --resume continues from the newest checkpoint",
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:500]


def _whole_log(client: Any, job: str, note: Say) -> str:
    """All that the job said; empty, with a note, if it cannot be fetched."""
    for _ in range(_LAST_TRIES):
        try:
            whole: str = within(2 * _ANSWER_SECONDS, lambda: client.get_job_logs(job))
        except (OSError, RuntimeError):
            time.sleep(_STATUS_SECONDS)
        else:
            return whole
    note(f"its last lines could not be fetched; `dist-erase logs {job}` shows all of them")
    return ""


def _unknown(words: str) -> Ending:
    return Ending(exit_code=EXIT_NOT_KNOWN, message=words)
