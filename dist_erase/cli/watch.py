"""`dist-erase watch`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def watch(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|URL",
            help="Run folder, its name in runs/, or http://HOST:PORT/metrics of a run.",
        ),
    ],
    once: Annotated[bool, typer.Option("--once", help="Show how it stands, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines: one a step, or a look at a URL.")
    ] = False,
    give_up: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="End when there is no sign of life for so long."
        ),
    ] = 300.0,
) -> None:
    """Watch a run from elsewhere; leave it alone.

    The exit code is the run's own where it is known, and 4 where it is not. Ctrl-C ends the
    watching only.

    Example: dist-erase watch runs/quickstart --once
    """
    from dist_erase.observability.machine_lines import JsonProgress
    from dist_erase.observability.progress import make_progress
    from dist_erase.orchestration import watch as job
    from dist_erase.orchestration.watched_run import find

    watched = find(run)
    progress = (
        JsonProgress(sys.stdout, watched.state)
        if as_json
        else make_progress("rich" if once else "auto", sys.stdout, watched.state)
    )
    end = job.watch(watched, progress, give_up_seconds=give_up, once=once)
    raise typer.Exit(end.exit_code)
