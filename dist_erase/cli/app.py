"""The command `dist-erase`: its subcommands, and how errors become messages and exit codes."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

import dist_erase
from dist_erase.cli import (
    config,
    data,
    data_index,
    data_verify,
    doctor,
    jobs,
    pretrain,
    purge,
    replay,
    run,
    submit,
    watch,
)
from dist_erase.errors import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    InterruptedRunError,
    UserError,
    refusal,
)

# The modules of commands import torch, Ray and DeepSpeed inside their functions only, so that
# `--help` answers at once.
app = typer.Typer(
    name="dist-erase",
    help="Make CLIP models forget image-text associations, and show what that did.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("config")(config.config)
app.command("doctor")(doctor.doctor)
app.command("run")(run.run)
app.command("submit")(submit.submit)
app.command("status")(jobs.status)
app.command("logs")(jobs.logs)
app.command("stop")(jobs.stop)
app.command("pretrain")(pretrain.pretrain)
app.command("watch")(watch.watch)
app.command("replay")(replay.replay)
app.command("purge")(purge.purge)
data.app.command("index")(data_index.index)
data.app.command("verify")(data_verify.verify)
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dist-erase {dist_erase.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


def main() -> None:
    """Runs the command line and exits.

    Exit codes: 0 done; 2 the user can mend it (one message, no traceback), a file or store that
    cannot be read or written included; 75 interrupted, to be
    continued with --resume; 130 stopped with Ctrl-C; what a command raises as typer.Exit(code);
    anything else is a bug: a traceback and 1.
    """
    # Without a GPU, DeepSpeed warns of that on import, before any message of ours.
    logging.getLogger("DeepSpeed").addFilter(lambda said: "accelerator" not in said.getMessage())
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_USER_ERROR)
    except OSError as error:
        words = refusal(error)
        if words is None:
            raise
        sys.stderr.write(f"error: {words}\n")
        sys.exit(EXIT_USER_ERROR)
    except InterruptedRunError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_INTERRUPTED)
