"""`dist-erase data verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dist_erase.cli.bar import progress_bars
from dist_erase.cli.data_index import Caption, IndexDir, Sets, Workers
from dist_erase.imports import quick_imports

if TYPE_CHECKING:
    from dist_erase.orchestration.data_verify import VerifiedSet


def verify(
    sets: Sets = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every image.")] = False,
    quarantine: Annotated[
        Path | None,
        typer.Option(help="File for what cannot be used, one JSON object a line."),
    ] = None,
    index_dir: IndexDir = None,
    workers: Workers = None,
    caption: Caption = None,
) -> None:
    """Read whole sets as a run would, and say what cannot be used; exit code 2 if anything.

    An interrupted verification goes on where it was; a finished one reads all again.

    Example: dist-erase data verify configs/quickstart.yaml --deep --quarantine bad.jsonl
    """
    with quick_imports():
        from dist_erase.orchestration import data_verify as job
        from dist_erase.orchestration.sets import choose_sets

    chosen = choose_sets(sets or [], index_dir=index_dir, caption=caption)
    with progress_bars() as begin:
        verified = job.verify_sets(chosen, deep=deep, workers=workers, begin=begin)
    if quarantine is not None:
        job.write_bad(quarantine, verified)
    _show(verified)
    job.refuse_bad(verified, quarantine)


def _show(verified: Sequence[VerifiedSet]) -> None:
    table = Table()
    for heading in ("set", "shards", "samples", "unusable", "by reason"):
        is_text = heading in ("set", "by reason")
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for one in verified:
        table.add_row(
            one.chosen.name,
            f"{len(one.verdicts):,}",
            f"{one.indexed.samples:,}",
            f"{one.bad_samples:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in one.reasons.items()) or "-",
        )
    Console().print(table)
