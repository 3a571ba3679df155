"""Which job is meant, and how jobs stand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dist_erase.config.nearest import did_you_mean
from dist_erase.data.source.attempts import within
from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.command import FOLDER, RUN
from dist_erase.orchestration.jobs.follow import ending_of_job

_ANSWER_SECONDS = 30.0
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a job stands.

    Attributes:
        job: its submission id.
        run: name of the run.
        folder: the run folder, as the nodes see it.
        status: Ray's, in lower case.
        started: unix time in seconds.
        seconds: how long it ran, or has run.
        exit_code: as `dist-erase run` ends with; None while it runs.
        message: how it ended; None while it runs.
    """

    job: str
    run: str
    folder: str
    status: str
    started: float
    seconds: float
    exit_code: int | None
    message: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def our_jobs(client: Any) -> list[Any]:
    """Ray's JobDetails of the runs that were submitted there, the newest first.

    Raises:
        UserError: the cluster does not answer.
    """
    try:
        found = within(_ANSWER_SECONDS, client.list_jobs)
    except (OSError, RuntimeError) as error:
        raise UserError(
            "--address",
            f"the cluster does not list its jobs ({' '.join(str(error).split())[:200]}).",
            "Try again; `ray list nodes` on the head node shows whether it is well.",
        ) from None
    ours = [job for job in found if job.submission_id and RUN in (job.metadata or {})]
    return sorted(ours, key=lambda job: -(job.start_time or 0))


def find(client: Any, name: str) -> Any:
    """The job with this submission id, else the newest of the run with this name.

    A job that is at work goes before newer ones that have ended.

    Raises:
        UserError: there is none.
    """
    jobs = our_jobs(client)
    named = [job for job in jobs if job.submission_id == name]
    runs = [job for job in jobs if job.metadata[RUN] == name]
    at_work = [job for job in runs if not job.status.is_terminal()]
    for job in (*named, *at_work, *runs):
        return job
    known = [word for job in jobs for word in (job.submission_id, job.metadata[RUN])]
    listed = ", ".join(job.submission_id for job in jobs[:_SHOWN])
    raise UserError(
        name,
        "is no job or run that was submitted to this cluster"
        + (f" (its newest: {listed})." if listed else ", which has none."),
        f"{did_you_mean(name, known)}`dist-erase status --address ...` lists them.",
    )


def standing(job: Any) -> Standing:
    """How one of `our_jobs` stands."""
    started = (job.start_time or 0) / 1000
    ended = job.end_time / 1000 if job.end_time else time.time()
    ending = ending_of_job(job) if job.status.is_terminal() else None
    return Standing(
        job=job.submission_id,
        run=job.metadata[RUN],
        folder=job.metadata.get(FOLDER, ""),
        status=str(job.status.value).lower(),
        started=started,
        seconds=max(0.0, ended - started),
        exit_code=ending.exit_code if ending else None,
        message=ending.message if ending else None,
    )


def standings(client: Any) -> Sequence[Standing]:
    """How all of `our_jobs` stand."""
    return [standing(job) for job in our_jobs(client)]
