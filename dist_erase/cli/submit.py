"""`dist-erase submit`: a run as a job on a Ray cluster elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from dist_erase.cli.cluster_options import Address, LauncherFile, chosen_launcher, note, show
from dist_erase.errors import EXIT_STOPPED, UserError


def submit(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that replace the file's."),
    ] = None,
    address: Address = None,
    launcher_file: LauncherFile = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show its output and wait; this is the default.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait without its output.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plain `ray job submit` that it equals.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the run folder.")
    ] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="Continue it if there is one, else start it.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the run folder.")
    ] = False,
    package: Annotated[
        Path | None,
        typer.Option(help="New folder for what travels; otherwise a temporary one.", metavar="DIR"),
    ] = None,
) -> None:
    """Run a configuration as a job on a Ray cluster elsewhere.

    The exit code is the run's own. A wait that is ended with Ctrl-C leaves the job alone.

    Example: dist-erase submit mine.yaml --address http://HEAD:8265
    """
    if follow + wait + no_wait > 1:
        raise UserError("--follow, --wait, --no-wait", "are given together.", "Choose one of them.")
    from dist_erase.orchestration.jobs.address import connect, dashboard, tokens_explained
    from dist_erase.orchestration.jobs.submit import hand_in, prepare

    launcher = chosen_launcher(launcher_file)
    flags = [
        flag
        for flag, given in (
            ("--resume", resume),
            ("--resume-or-start", resume_or_start),
            ("--overwrite", overwrite),
        )
        if given
    ]
    at = dashboard(address, launcher)
    with ExitStack() as stack:
        folder = package or Path(tempfile.mkdtemp(prefix="dist-erase-package-"))
        if package is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        prepared = prepare(path, overrides or [], launcher, folder=folder, flags=flags)
        note(prepared.in_words())
        if dry_run:
            stack.pop_all()  # the line that is printed needs the package
            typer.echo(prepared.order.plain(at, wait=not no_wait))
            return
        stack.enter_context(tokens_explained(at, launcher))
        client = connect(at, launcher, note)
        job = hand_in(client, prepared, at)
    note(f"job: {job} (dist-erase logs {job} --follow; dist-erase stop {job})")
    if no_wait:
        typer.echo(job)
        return
    from dist_erase.orchestration.jobs.follow import follow as wait_for

    try:
        with tokens_explained(at, launcher):
            end = wait_for(client, job, show=None if wait else show, note=note)
    except KeyboardInterrupt:
        note(f"{job} goes on; `dist-erase stop {job}` ends it with a checkpoint")
        raise typer.Exit(EXIT_STOPPED) from None
    note(f"{job}: {end.message}")
    raise typer.Exit(end.exit_code)
