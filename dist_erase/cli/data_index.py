"""`dist-erase data index`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dist_erase.cli.bar import progress_bars
from dist_erase.imports import quick_imports

if TYPE_CHECKING:
    from dist_erase.data.indexing import IndexedSet

Sets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG|PATTERN",
        help="A run's YAML file (and KEY=VALUE), or patterns of shards.",
    ),
]
IndexDir = Annotated[
    Path | None,
    typer.Option(help="Where the index is kept, instead of where the run looks for it."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that read; one a core if not given.")
]
Caption = Annotated[
    str | None,
    typer.Option(help="With patterns: where captions stand, txt (if not given), json:KEY or cls."),
]


def index(
    sets: Sets = None,
    index_dir: IndexDir = None,
    workers: Workers = None,
    caption: Caption = None,
    headers: Annotated[
        bool,
        typer.Option("--headers", help="Walk over all headers, and check the side files by them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count the samples of every shard before a run does; goes on where it was stopped.

    Counts come from side files where there are any (NAME.idx, NAME.tar.idx, NAME_stats.json,
    sizes.json), else from the tar headers; no image is read.

    Example: dist-erase data index configs/quickstart.yaml
    """
    with quick_imports():
        from dist_erase.orchestration import data_index as job
        from dist_erase.orchestration.sets import choose_sets

    chosen = choose_sets(sets or [], index_dir=index_dir, caption=caption)
    with progress_bars() as begin:
        indexed = job.index_sets(chosen, headers=headers, workers=workers, begin=begin)
    if as_json:
        typer.echo(json.dumps(job.as_json(chosen, indexed), indent=2))
    else:
        _show(indexed, chosen.index_dir)
    job.refuse_faults(chosen, indexed)


def _show(indexed: Sequence[IndexedSet], index_dir: Path) -> None:
    table = Table()
    for heading in ("set", "shards", "samples", "bytes", "counted by", "changed", "faulty"):
        is_text = heading in ("set", "counted by")
        table.add_column(
            heading,
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=heading != "set",
        )
    for found in indexed:
        table.add_row(
            found.name,
            f"{len(found.summaries):,}",
            f"{found.samples:,}",
            f"{found.bytes:,}",
            ", ".join(f"{kind} ({count:,})" for kind, count in found.origins.items()),
            f"{len(found.changed):,}",
            f"{len(found.faults):,}",
        )
    console = Console()
    console.print(table)
    console.print(f"index: {index_dir}", soft_wrap=True, highlight=False)
