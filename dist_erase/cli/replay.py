"""`dist-erase replay`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dist_erase.imports import quick_imports

if TYPE_CHECKING:
    from dist_erase.orchestration.replay import Replayed


def replay(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    step: Annotated[int, typer.Option(help="Step, from 1, as metrics.jsonl counts.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the images as the student saw them, and a contact sheet."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Make the global batch of a step again, and compare it with what the run recorded.

    Exit code 2 if it is another batch; what changed is then named.

    Example: dist-erase replay runs/quickstart --step 3 --out step-3
    """
    with quick_imports():
        from dist_erase.orchestration import replay as job
        from dist_erase.orchestration.replay_sheet import SHEET, write_sheet
        from dist_erase.orchestration.replay_sheet import as_json as facts_of

    replayed = job.replay(run, step)
    if out is not None:
        write_sheet(replayed, run, out)
    if as_json:
        typer.echo(json.dumps(facts_of(replayed), indent=2))
    else:
        _show(replayed)
        if out is not None:
            typer.echo(f"images: {out / SHEET}")
    job.refuse_difference(replayed)


def _show(replayed: Replayed) -> None:
    table = Table()
    for heading in ("place", "set", "shard", "index", "key", "caption", "instead of"):
        is_number = heading in ("place", "index")
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for place in replayed.places:
        bad = place.instead_of
        cells = (
            str(place.place),
            place.stream,
            Path(place.shard).name,
            str(place.index),
            place.key,
            place.caption,
            "" if bad is None else f"{Path(bad.shard).name} {bad.key}: {bad.reason}, {bad.detail}",
        )
        table.add_row(*map(Text, cells))  # captions may hold what rich takes for markup
    Console().print(table)
    recorded = "" if replayed.recorded is None else f", recorded {replayed.recorded}"
    typer.echo(f"digest {replayed.digest}{recorded}: {replayed.verdict}")
