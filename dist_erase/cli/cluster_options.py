"""What the commands for jobs on a cluster share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dist_erase.config.launcher import Launcher, load_launcher

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="http://HEAD:8265",
        help="The dashboard of the cluster's head node.",
    ),
]
LauncherFile = Annotated[
    Path | None,
    typer.Option(
        "--launcher", metavar="FILE", help="What is true of the cluster, as in launchers/ray/."
    ),
]
Job = Annotated[
    str, typer.Argument(metavar="JOB|RUN", help="Id of a job, or the name of a run: its newest.")
]


def chosen_launcher(path: Path | None) -> Launcher:
    """The one of the file, or one that assumes nothing."""
    return Launcher() if path is None else load_launcher(path)


def note(line: str) -> None:
    """A line about the job, on stderr: stdout is the run's own."""
    sys.stderr.write(f"{line}\n")


def show(text: str) -> None:
    """The job's own output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
