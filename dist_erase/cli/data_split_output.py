"""What `dist-erase data split` shows: progress, the call for a review, the sets."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from dist_erase.cli.shards_table import print_shards

if TYPE_CHECKING:
    from dist_erase.data.build.dataset import BuildSummary
    from dist_erase.data.split.request import ReviewNeeded


def show_review(needed: ReviewNeeded) -> None:
    """What was found, and how to go on."""
    typer.echo(
        f"{needed.forget:,} of {needed.images:,} images would be forgotten, {needed.near:,} of "
        "them as near-duplicates. No shard has been written.\n"
        f"1. Look at {needed.sheet}\n"
        f"2. Where you disagree, change the column `decision` ({needed.rows:,} rows) of "
        f"{needed.decisions}\n"
        "3. Go on with\n"
        f"   {_again(needed.decisions)}"
    )


def _again(decisions: Path) -> str:
    """This command, with --accept."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    return shlex.join(["dist-erase", *words, "--accept", str(decisions)])


def show(summary: BuildSummary) -> None:
    """The sets, the patterns that a configuration names them by, and what was moved."""
    print_shards(summary, counted="samples", pattern="pattern")
    console = Console()
    for line in _remarks(summary.facts):
        console.print(line, highlight=False)


def _remarks(facts: dict[str, Any]) -> Iterator[str]:
    moved, disjoint = facts["moved_to_forget"], facts["disjoint"]
    yield (
        f"{disjoint['checked']:,} distinct images, each hashed while it was written: no two sets "
        "share one."
    )
    if moved["exact"]:
        yield f"{moved['exact']:,} samples went to forget because they show a forgotten image."
    if "near" in disjoint:
        apart = disjoint["near"]["kept_apart_by_review"]
        yield (
            f"{moved['near']:,} samples went to forget as near-duplicates (near_duplicates.csv)"
            + (f"; {apart:,} images stayed by review." if apart else ".")
        )
    if facts["left_out"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts["left_out"].items())
        yield f"In no set, since they cannot be used ({reasons}): see left_out.csv."
    if damaged := facts.get("damaged_shards"):  # older data sets do not say
        yield f"Damaged shards: {damaged:,}; only their whole samples are used, see left_out.csv."
