"""`dist-erase data`: making and looking at data sets in webdataset shards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dist_erase.cli import data_inspect, data_split, replay
from dist_erase.cli.bar import progress
from dist_erase.cli.shards_table import print_shards

if TYPE_CHECKING:
    from dist_erase.data.build.dataset import BuildSummary

app = typer.Typer(
    help="Make, check and inspect data sets in webdataset shards.", no_args_is_help=True
)
build = typer.Typer(
    help="Write forget and retain shards, for training and for evaluation.", no_args_is_help=True
)
app.add_typer(build, name="build")
app.command("split")(data_split.split)
app.command("inspect")(data_inspect.inspect)

app.command("replay")(replay.replay)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new data set.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides everything that is drawn.")]
ShardSize = Annotated[int, typer.Option(min=1, help="Most samples in a shard.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a data set built with other options.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that read and write; one a core if not given."),
]
Forget = Annotated[
    list[str], typer.Option(help="Class to forget; repeat it or separate names by commas.")
]


@build.command()
def digits(
    out: Out,
    forget: Forget = ["seven"],  # noqa: B006  (typer copies it)
    size: Annotated[int, typer.Option(min=8, help="Pixels of a side.")] = 32,
    seed: Seed = 0,
    shard_size: ShardSize = 512,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes that write; 0 = none: starting some takes longer than these images.",
        ),
    ] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Build scikit-learn's handwritten digits; 30 % of each are held out.

    Example: dist-erase data build digits data/digits --forget seven
    """
    from dist_erase.data.build.digits import build_digits

    with progress() as report:
        summary = build_digits(
            out,
            forget=_names(forget),
            size=size,
            seed=seed,
            shard_size=shard_size,
            overwrite=overwrite,
            workers=workers,
            progress=report,
        )
    _show(summary)


@build.command()
def cifar100(
    out: Out,
    source: Annotated[
        Path,
        typer.Option(
            help="Folder with train-*.parquet and test-*.parquet of the data set uoft-cs/cifar100 "
            "on Hugging Face, or with torchvision's cifar-100-python.",
            show_default=False,
        ),
    ],
    forget: Forget = ["apple"],  # noqa: B006  (typer copies it)
    forget_count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Forget this many classes: those named, then others drawn by seed.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    shard_size: ShardSize = 2048,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Build CIFAR-100 from files on this machine.

    Example: dist-erase data build cifar100 data/cifar100 --source downloads/cifar100
    """
    from dist_erase.data.build.cifar100 import build_cifar100

    with progress() as report:
        summary = build_cifar100(
            out,
            source=source,
            forget=_names(forget),
            forget_count=forget_count,
            seed=seed,
            shard_size=shard_size,
            overwrite=overwrite,
            workers=_processes(workers),
            progress=report,
        )
    _show(summary)


@build.command()
def folder(
    out: Out,
    table: Annotated[
        Path,
        typer.Option(
            help="CSV or JSONL: image, caption; optional: split (train, eval), "
            "set (forget, retain), label.",
            show_default=False,
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder where image paths start; the table's if not given."),
    ] = None,
    forget_regex: Annotated[
        str | None,
        typer.Option(
            help="Forget each image that has a matching caption, instead of the column set.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    shard_size: ShardSize = 2048,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Build a data set from image files with captions in a table.

    Example: dist-erase data build folder data/mine --table photos/captions.csv --forget-regex cat
    """
    from dist_erase.data.build.folder import build_folder

    with progress() as report:
        summary = build_folder(
            out,
            table=table,
            images=images,
            forget_regex=forget_regex,
            seed=seed,
            shard_size=shard_size,
            overwrite=overwrite,
            workers=_processes(workers),
            progress=report,
        )
    _show(summary)


def _names(values: list[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _processes(workers: int | None) -> int:
    return (os.cpu_count() or 1) if workers is None else workers


def _show(summary: BuildSummary) -> None:
    """The sets, and the patterns that a configuration names them by."""
    print_shards(summary, counted="pairs", pattern="pattern for data.*.shards")
    console = Console()
    if summary.dropped_from_retain:
        console.print(
            f"{summary.dropped_from_retain} retain pairs were left out: their image is in a "
            "forget set too."
        )
    if summary.train_images_in_eval:
        console.print(
            f"{summary.train_images_in_eval} eval pairs have an image that is in train too."
        )
