"""The table of shards that a command has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from dist_erase.data.build.dataset import BuildSummary


def print_shards(summary: BuildSummary, *, counted: str, pattern: str) -> None:
    """The sets of a summary with their sizes and patterns; two of the headings are given."""
    table = Table(title=f"{summary.out}" + (" (up to date)" if summary.up_to_date else ""))
    for heading in ("set", counted, "shards"):
        table.add_column(heading, justify="left" if heading == "set" else "right")
    table.add_column(pattern, overflow="fold")
    for name, samples in summary.samples.items():
        shards = sum(shard.startswith(f"{name}-") for shard in summary.shards)
        table.add_row(name, f"{samples:,}", str(shards), f"{summary.out}/{name}-*.tar")
    Console().print(table)
