"""`dist-erase run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.errors import EXIT_DONE, EXIT_GOAL_MISSED, UserError
from dist_erase.imports import quick_imports


def run(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values that replace the file's."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the run folder.")
    ] = False,
    resume_or_start: Annotated[
        bool,
        typer.Option(
            "--resume-or-start",
            help="Continue the run if the run folder holds one, else start it; for launchers that "
            "try again.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the run folder.")
    ] = False,
    accept_missed_goals: Annotated[
        bool,
        typer.Option(
            "--accept-missed-goals",
            help="End with 0 where a goal is missed too; for launchers that try again on any other "
            "code.",
        ),
    ] = False,
) -> None:
    """Erase associations from a CLIP model on Ray; evaluate, export, report.

    Example: dist-erase run configs/quickstart.yaml train.zero_stage=3 run.name=z3
    """
    config = load_config(path, overrides or [], RunConfig).config
    if dry_run:
        with quick_imports():
            from dist_erase.orchestration.dry_run import describe

        typer.echo(describe(config))
        return
    if resume_or_start:
        from dist_erase.orchestration.again import done_already, is_begun

        if resume or overwrite:
            raise UserError(
                "--resume-or-start", "comes with --resume or --overwrite.", "Choose one of them."
            )
        done = done_already(config)
        if done is not None:
            typer.echo(f"this run has ended before: {done.message}")
            code = EXIT_DONE if accept_missed_goals else done.exit_code
            raise typer.Exit(code)
        resume = is_begun(config)
    with quick_imports():
        from dist_erase.orchestration.evidence import missed_goals, show
        from dist_erase.orchestration.ray_job import run_on_ray

    report, folder = run_on_ray(config, resume=resume, overwrite=overwrite)
    show(report, folder, Console())
    missed = missed_goals(config, report)
    for goal in missed:
        typer.echo(f"goal missed: {goal}", err=True)
    if missed and not accept_missed_goals:
        raise typer.Exit(EXIT_GOAL_MISSED)
