"""`dist-erase doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dist_erase.errors import EXIT_USER_ERROR

if TYPE_CHECKING:
    from dist_erase.orchestration.doctor.row import Row

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    path: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="YAML file.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that replace the file's."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDR",
            help="Ray cluster to look at, HOST:PORT or auto, instead of ray.address.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line instead of tables.")
    ] = False,
) -> None:
    """Look for what would stop a run, before it costs anything; exit code 2 if something would.

    Without CONFIG, only what every run needs. Nothing is changed; a check that does not answer
    is given up and said.

    Example: dist-erase doctor configs/quickstart.yaml
    """
    from dist_erase.orchestration.doctor.examine import examine

    console = Console()
    failed = warned = 0
    for part in examine(path, overrides or [], address=address):
        rows = []
        for row in part.rows:
            failed += row.state == "fail"
            warned += row.state == "warn"
            rows.append(row)
            if as_json:
                typer.echo(json.dumps({"part": part.title, **asdict(row)}))
        if not as_json and rows:
            console.print(_table(part.title, rows))
    if not as_json:
        typer.echo(
            f"{failed} would stop a run, {warned} may" if failed or warned else "all is well"
        )
    if failed:
        raise typer.Exit(EXIT_USER_ERROR)


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
    if any(row.node for row in rows):
        table.add_column("node", overflow="fold")
    table.add_column("check", style="bold", overflow="fold", ratio=2)
    table.add_column("state", no_wrap=True, width=5)
    table.add_column("found", overflow="fold", ratio=5)
    table.add_column("mend", overflow="fold", ratio=4)
    for row in rows:
        state = Text(row.state, style=_COLOURS[row.state])
        nodes = [Text(row.node)] if len(table.columns) == 5 else []
        table.add_row(*nodes, Text(row.check), state, Text(row.found), Text(row.mend))
    return table
