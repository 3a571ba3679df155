"""`dist-erase config`: the schema, or a configuration as it resolves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dist_erase.config.explain import resolved, schema
from dist_erase.config.load import load_config
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.errors import UserError

_KINDS: dict[str, type[RunConfig] | type[PretrainConfig]] = {
    "run": RunConfig,
    "pretrain": PretrainConfig,
}


def config(
    path: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="YAML file.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that replace the file's."),
    ] = None,
    print_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of every key instead.")
    ] = False,
    kind: Annotated[
        Literal["run", "pretrain"], typer.Option(help="The command that reads it.")
    ] = "run",
) -> None:
    """Print a configuration as it resolves, with where each value comes from.

    Example: dist-erase config configs/quickstart.yaml objective.preset=paper
    """
    if print_schema:
        typer.echo(schema(_KINDS[kind]))
        return
    if path is None:
        raise UserError("CONFIG", "is not given.", "Name a YAML file, or ask for --schema.")
    loaded = load_config(path, overrides or [], _KINDS[kind])
    typer.echo(resolved(loaded.config, loaded.origins), nl=False)
