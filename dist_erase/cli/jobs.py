"""`dist-erase status`, `logs` and `stop`: what was submitted to a Ray cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dist_erase.cli.cluster_options import (
    Address,
    Job,
    LauncherFile,
    chosen_launcher,
    note,
    show,
)
from dist_erase.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dist_erase.orchestration.jobs.find import Standing


def status(
    job: Annotated[
        str | None,
        typer.Argument(metavar="JOB|RUN", help="Only this one.", show_default=False),
    ] = None,
    address: Address = None,
    launcher_file: LauncherFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List the runs that were submitted to a cluster, the newest first.

    Example: dist-erase status --address http://HEAD:8265
    """
    with _cluster(address, launcher_file) as client:
        from dist_erase.orchestration.jobs.find import find, standing, standings

        found = standings(client) if job is None else [standing(find(client, job))]
    if as_json:
        typer.echo(json.dumps([one.as_dict() for one in found], indent=2))
    elif not found:
        typer.echo("no run was submitted to this cluster")
    else:
        Console().print(_table(found))


def logs(
    job: Job,
    address: Address = None,
    launcher_file: LauncherFile = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until it ends; the exit code is the run's.")
    ] = False,
) -> None:
    """Show what a submitted run has said.

    Example: dist-erase logs request-17 --address http://HEAD:8265 --follow
    """
    with _cluster(address, launcher_file) as client:
        from dist_erase.orchestration.jobs.find import find
        from dist_erase.orchestration.jobs.follow import follow as wait_for

        found = find(client, job)
        if not follow:
            show(client.get_job_logs(found.submission_id))
            return
        end = wait_for(client, found.submission_id, show=show, note=note)
    note(f"{found.submission_id}: {end.message}")
    raise typer.Exit(end.exit_code)


def stop(
    job: Job,
    address: Address = None,
    launcher_file: LauncherFile = None,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="How long its checkpoint may take."),
    ] = 600.0,
    reason: Annotated[
        str, typer.Option(help="Goes into the run's records: no personal names.")
    ] = "dist-erase stop",
    now: Annotated[bool, typer.Option("--now", help="End it without a checkpoint.")] = False,
) -> None:
    """Stop a submitted run with a checkpoint, from which --resume goes on.

    Example: dist-erase stop request-17 --address http://HEAD:8265
    """
    with _cluster(address, launcher_file) as client:
        from dist_erase.orchestration.jobs.find import find
        from dist_erase.orchestration.jobs.stop import stop as end_job

        found = find(client, job)
        end = end_job(client, found, now=now, seconds=timeout, reason=reason, note=note)
    typer.echo(f"{found.submission_id}: {end.message}")


@contextmanager
def _cluster(address: str | None, launcher_file: Path | None) -> Iterator[Any]:
    """A client of the cluster that is meant; inside, it may fall silent."""
    from dist_erase.orchestration.jobs.address import connect, dashboard, tokens_explained

    launcher = chosen_launcher(launcher_file)
    at = dashboard(address, launcher)
    with tokens_explained(at, launcher):
        client = connect(at, launcher, note)
        try:
            yield client
        except (OSError, RuntimeError) as error:  # Ray's client raises RuntimeError for any status
            why = " ".join(str(error).split())[:200]
            raise UserError(at, f"broke off ({why}).", "Ask again; the job goes on.") from None


def _table(found: Sequence[Standing]) -> Table:
    table = Table()
    for heading in ("job", "run", "status", "started", "ran", "exit code"):
        table.add_column(heading)
    table.add_column("how it ended", overflow="fold")
    for one in found:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.started))
        hours, seconds = divmod(round(one.seconds), 3600)
        ran = f"{hours}:{seconds // 60:02d}:{seconds % 60:02d}"
        code = "" if one.exit_code is None else str(one.exit_code)
        table.add_row(one.job, one.run, one.status, started, ran, code, one.message or "")
    return table
