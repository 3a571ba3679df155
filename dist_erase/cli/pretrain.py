"""`dist-erase pretrain`: make a small original model to erase from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dist_erase.config.load import load_config
from dist_erase.config.run import PretrainConfig
from dist_erase.imports import quick_imports


def pretrain(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that replace the file's."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another model in the run folder.")
    ] = False,
) -> None:
    """Train a small CLIP in one process, for trying things out; goes on where it was stopped.

    Example: dist-erase pretrain configs/quickstart/pretrain.yaml
    """
    with quick_imports():
        from dist_erase.orchestration.pretrain_job import pretrain as run_pretraining

    done = run_pretraining(
        load_config(path, overrides or [], PretrainConfig).config, overwrite=overwrite
    )
    how = "trained" if done.trained_now else "already trained under this configuration"
    typer.echo(f"{how}: {done.model}")
    zero_shot = done.figures["zero_shot"]["retain"]
    if zero_shot is not None:
        typer.echo(f"zero-shot top-1 on held-out pairs: {zero_shot['top1']:.1%}")
