"""`dist-erase data inspect`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from dist_erase.errors import UserError

if TYPE_CHECKING:
    from dist_erase.data.inspect import Inspection
    from dist_erase.data.source import SourceSettings

Config = Annotated[
    Path | None,
    typer.Option(
        help="A run's or pretraining's YAML file that says how shards are read: of its keys only "
        "data.storage, data.read, data.block_cache and data.allow_pipe count.",
        show_default=False,
    ),
]


def inspect(
    patterns: Annotated[
        list[str], typer.Argument(metavar="PATTERN...", help="Patterns of shards.")
    ],
    caption: Annotated[
        str, typer.Option(help="Where captions stand: txt, txt:lines, json:KEY or cls.")
    ] = "txt",
    classes: Annotated[
        Path | None,
        typer.Option(help="With --caption cls: JSON list of class names, in order of number."),
    ] = None,
    config: Config = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every image too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything found, as JSON.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; one a core if not given.")
    ] = None,
) -> None:
    """Show what shards hold, and warn of what readers stumble over.

    Reads tar and image headers, captions and labels; nothing is decoded without --deep.

    Example: dist-erase data inspect "pool/*.tar" --caption json:caption
    """
    from dist_erase.data.captions import read_class_names
    from dist_erase.data.inspect import inspect_shards

    with _progress() as progress:
        found = inspect_shards(
            patterns,
            caption=caption,
            classes=read_class_names(str(classes), where="--classes") if classes else (),
            settings=source_settings(config),
            deep=deep,
            workers=(os.cpu_count() or 1) if workers is None else workers,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        _show(found)


def source_settings(config: Path | None) -> SourceSettings:
    """How shards are read, by a configuration; raises UserError if it is none."""
    from dist_erase.data.source import SourceSettings
    from dist_erase.orchestration.sets import choose_sets

    if config is None:
        return SourceSettings()
    if config.suffix not in (".yaml", ".yml"):  # else it would be a pattern of shards
        raise UserError("--config", f"is {config}.", "Name a run's YAML file.")
    return choose_sets([str(config)]).settings


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; nothing there when stderr is no terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading shards", total=None)
        yield lambda done, planned: bar.update(task, completed=done, total=planned)


def _show(found: Inspection) -> None:
    console = Console()
    table = Table(show_header=False, title=f"{found.facts.shards:,} shards")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(found.as_json()):
        table.add_row(name, Text(value))  # a name in brackets is no markup
    console.print(table)
    _show_warnings(console, found.as_json()["warnings"])


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    images, captions, labels = facts["images"], facts["captions"], facts["labels"]
    yield "samples", f"{facts['samples']:,} in {facts['bytes'] / 1e6:,.1f} MB"
    yield "members", _counts(facts["members"], prefix=".")
    if facts["json_fields"]:
        yield "fields of .json", _counts(facts["json_fields"])
    yield "images", _counts(images["formats"]) or "none"
    yield "shorter side, pixels", _quantiles(images["shorter_side"])
    yield "longer side, pixels", _quantiles(images["longer_side"])
    if "distinct" in images:
        bad = _counts(images["bad"]) or "none"
        yield "decoded", f"{images['distinct']:,} distinct images; bad: {bad}"
    yield (
        f"captions ({captions['where']})",
        f"{captions['usable']:,} usable, {captions['distinct']:,} distinct",
    )
    yield "caption, characters", _quantiles(captions["characters"])
    if labels["samples"]:
        yield "labels", f"{labels['classes']:,} classes in {labels['samples']:,} samples"
        yield "largest classes", _counts(labels["largest"])
    if facts["keys_in_several_samples"]:
        yield (
            "keys used again",
            f"{facts['keys_in_several_samples']:,} (a sample is known by shard and number)",
        )


def _counts(counts: dict[str, int], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name} {count:,}" for name, count in counts.items())


def _quantiles(values: dict[str, int] | None) -> str:
    if values is None:
        return "none"
    least, low, median, high, most = (f"{value:,}" for value in values.values())
    return f"median {median}, 90 % in {low} to {high}, all in {least} to {most}"


def _show_warnings(console: Console, warnings: dict[str, Any]) -> None:
    if not warnings:
        console.print("No warnings.")
        return
    table = Table(title="Warnings")
    table.add_column("count", justify="right")
    table.add_column("what", style="bold")
    table.add_column("what it means, and where", overflow="fold")
    for kind, entry in warnings.items():
        places = "\n".join(entry["examples"])
        more = entry["count"] - len(entry["examples"])
        rest = f"\nand {more:,} more" if more > 0 else ""
        text = Text(f"{entry['meaning']}\n{places}{rest}")
        table.add_row(f"{entry['count']:,}", kind, text)
    console.print(table)
