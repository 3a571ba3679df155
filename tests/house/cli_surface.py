"""The public command line as text: every command, argument and option, with its default.

`make generate` writes it to cli_surface.txt; what changes there is a change for users.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from dist_erase.cli.app import app


def commands() -> dict[str, Any]:
    """Every command by the words that call it, groups included."""
    return dict(_walk(typer.main.get_command(app), "dist-erase"))


def surface() -> str:
    """One line for each command, an indented one for each of its parameters."""
    lines: list[str] = []
    for words, command in commands().items():
        lines.append(words)
        lines += [f"    {_describe(parameter)}" for parameter in command.params]
    return "\n".join(lines) + "\n"


def _walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    yield words, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, f"{words} {word}")


def _describe(parameter: Any) -> str:
    is_option = parameter.opts[0].startswith("-")
    facts = ["/".join(parameter.opts) if is_option else parameter.metavar or parameter.name]
    if parameter.multiple or parameter.nargs == -1:
        facts.append("several")
    if getattr(parameter, "is_flag", False):
        facts.append("flag")
    else:
        facts.append("needed" if parameter.required else f"default {parameter.default!r}")
    return ", ".join(facts)


if __name__ == "__main__":
    sys.stdout.write(surface())
