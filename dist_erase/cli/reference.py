"""The page docs/reference/cli.md: every command with its arguments and options, from the code.

`make generate` writes it: python -m dist_erase.cli.reference > docs/reference/cli.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from dist_erase.cli.app import app

_HEAD = """\
# Command line

Made from the code by `make generate`; do not edit. `dist-erase COMMAND --help` says the same. What
the exit codes mean stands in [the README](../../README.md#exit-codes).
"""
_WORDS = {Path: "PATH", int: "N", float: "NUMBER", str: "TEXT"}


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *_walk(typer.main.get_command(app), "dist-erase")])


def _walk(command: Any, words: str) -> Iterator[str]:
    """A command's section, then those of its subcommands."""
    yield f"## `{words}`\n"
    words_of_help = inspect.cleandoc(command.help or "").strip()
    yield re.sub(r"^Example: (.+)$", r"Example: `\1`", words_of_help, flags=re.M) + "\n"
    inner = getattr(command, "commands", {})
    if not inner:
        yield f"    {_usage(command, words)}\n"
    types = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    rows = [_row(parameter, types[parameter.name]) for parameter in command.params]
    if rows:
        yield "| argument or option | default | meaning |\n|---|---|---|"
        yield from rows
        yield ""
    for word, subcommand in inner.items():
        yield from _walk(subcommand, f"{words} {word}")


def _usage(command: Any, words: str) -> str:
    """The line as it is typed."""
    parts = [words]
    if any(_is_option(p) for p in command.params):
        parts.append("[OPTIONS]")
    for parameter in command.params:
        if not _is_option(parameter):
            name = f"{_name(parameter)}{' …' if _is_several(parameter) else ''}"
            parts.append(name if parameter.required else f"[{name}]")
    return " ".join(parts)


def _row(parameter: Any, annotation: Any) -> str:
    name = f"`{_name(parameter)}`".replace("|", "` or `")
    if _is_option(parameter) and not parameter.is_flag:
        name = f"`{_name(parameter)} {parameter.metavar or _value(annotation)}`"
    if _is_several(parameter):
        name += ", several"
    cells = (name, _default(parameter), parameter.help or "")
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _name(parameter: Any) -> str:
    if _is_option(parameter):
        return ", ".join(parameter.opts)
    return str(parameter.metavar or parameter.name).removesuffix("...")


def _value(annotation: Any) -> str:
    """What an option takes, in a word; of a list each, of `X | None` X."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    members = [member for member in get_args(annotation) if member is not type(None)]
    if get_origin(annotation) is Literal:
        return "/".join(members)
    return _value(members[0])


def _default(parameter: Any) -> str:
    """The value that stands where none is given; empty for what then stays out."""
    if parameter.required:
        return "needed"
    value = parameter.default
    if value is None or getattr(parameter, "is_flag", False):
        return ""
    values = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"`{one:g}`" if isinstance(one, float) else f"`{one}`" for one in values)


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _is_several(parameter: Any) -> bool:
    return bool(parameter.multiple or parameter.nargs == -1)


if __name__ == "__main__":
    sys.stdout.write(reference())
