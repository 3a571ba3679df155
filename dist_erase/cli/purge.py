"""`dist-erase purge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dist_erase.config.secrets import public
from dist_erase.errors import UserError

if TYPE_CHECKING:
    from dist_erase.orchestration.forget_traces import Traces


def purge(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be deleted.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Block cache, if it is not where the run's configuration says."),
    ] = None,
) -> None:
    """Delete what derives from forget pairs; keep the record of the run.

    Example: dist-erase purge runs/quickstart --dry-run
    """
    from dist_erase.orchestration import purge as job

    confirmed = False

    def confirm(traces: Traces) -> bool:
        nonlocal confirmed
        confirmed = yes or _ask(traces)
        return confirmed

    traces = job.purge(run, dry_run=dry_run, confirm=confirm, cache_dir=cache_dir)
    if traces.is_empty:
        typer.echo("nothing that derives from forget pairs is left")
    elif dry_run:
        typer.echo(_listed(traces, with_files=True))
    elif not confirmed:
        typer.echo("nothing was deleted")
        return
    else:
        typer.echo(f"{_listed(traces, with_files=False)}\nrecord: {run / job.RECORD}")
    for pattern in traces.unlisted:
        typer.echo(f"{public(pattern)} cannot be listed now: blocks of its shards may be left")
    typer.echo("\n".join(["Not deleted by this command:", *(f"  {x}" for x in job.NOT_DELETED)]))


def _ask(traces: Traces) -> bool:
    if not sys.stdin.isatty():
        raise UserError("--yes", "is not given, and nobody can be asked.", "Look with --dry-run.")
    typer.echo(_listed(traces, with_files=False), err=True)
    return typer.confirm("Delete this for good?", err=True)


def _listed(traces: Traces, *, with_files: bool) -> str:
    lines = []
    for one in traces.deletions:
        lines.append(f"{one.what}: {len(one.files):,} files, {one.bytes:,} bytes")
        lines += [f"  {file}" for file in one.files] if with_files else []
    if traces.blocks:
        count, size = traces.blocks.count, traces.blocks.bytes
        lines.append(f"blocks in {traces.blocks.folder}: {count:,} files, {size:,} bytes")
    if traces.quarantine:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in traces.quarantine.items())
        lines.append(f"lines of quarantine.jsonl: {sum(traces.quarantine.values()):,} ({reasons})")
    if traces.names:
        files = ", ".join(path.name for path in traces.reports)
        lines.append(f"names of samples that become hashes in {files}: {len(traces.names):,}")
    if traces.ending:
        lines.append("message of end.json: names a forget shard, and gets words that do not")
    return "\n".join(lines)
