"""The page docs/reference/config.md: every key with its type, bounds and default, from the schema.

`make generate` writes it: python -m dist_erase.config.reference > docs/reference/config.md
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dist_erase.config.objective import ObjectiveConfig, Preset
from dist_erase.config.run import PretrainConfig, RunConfig

_HEAD = """\
# Configuration keys

Made from the code by `make generate`; do not edit. A configuration is a YAML file; on the command
line `key.sub=value` replaces what the file says. An unknown key is refused.
`dist-erase config CONFIG` prints what a file resolves to and where each value comes from.
"""
_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join(
        [_HEAD, *_root("run", RunConfig), *_presets(), *_root("pretrain", PretrainConfig)]
    )


def _root(command: str, kind: type[BaseModel]) -> Iterator[str]:
    yield f"## What `dist-erase {command}` reads\n"
    places: dict[type[BaseModel], list[str]] = {}
    for place, section in _sections(kind, ""):
        places.setdefault(section, []).append(place)
    for section, (first, *others) in places.items():
        yield f"### {_code(first or 'top level')}\n"
        yield str(section.__doc__).strip()
        if others:
            yield f"The same keys stand in {', '.join(map(_code, others))}."
        yield "\n| key | type | default | meaning |\n|---|---|---|---|"
        yield from (_row(name, info) for name, info in section.model_fields.items())
        yield ""


def _sections(kind: type[BaseModel], place: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section with its dotted place, in the order of reading."""
    yield place, kind
    for name, info in kind.model_fields.items():
        inner = f"{place}.{name}".lstrip(".")
        if get_origin(info.annotation) is dict:
            inner += ".NAME"
        for section in _sections_in(info.annotation):
            yield from _sections(section, inner)


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    members = (annotation, *get_args(annotation))
    return [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]


def _row(name: str, info: FieldInfo) -> str:
    cells = (_code(name), _type(info), _default(info), _meaning(info))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _meaning(info: FieldInfo) -> str:
    """The description, or what the section itself says it is."""
    sections = _sections_in(info.annotation)
    return info.description or next((str(s.__doc__).strip() for s in sections), "")


def _type(info: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(limit, attribute):g}"
        for limit in info.metadata
        for bound, attribute, sign in _BOUNDS
        if isinstance(limit, bound)
    ]
    return ", ".join([_words(info.annotation), *bounds])


def _words(annotation: Any) -> str:
    """A type as a user says it."""
    members = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(_code(_yaml(member)) for member in members)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, members))
    if origin is list:
        return f"list of {_words(members[0])}"
    if origin is tuple:
        return f"{len(members)} × {_words(members[0])}"
    if origin is dict:
        return f"names, each with: {_words(members[1])}"
    return _WORDS.get(annotation, "section")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "needed"
    value = info.get_default(call_default_factory=True)
    return "" if isinstance(value, BaseModel) else _code(_yaml(value))


def _presets() -> Iterator[str]:
    """What each preset sets, compared with the default one."""
    yield "### Presets of `objective.preset`\n"
    yield "A key that is given wins over the preset.\n\n| preset | sets |\n|---|---|"
    plain = dict(_flat(ObjectiveConfig().model_dump()))
    for preset in get_args(Preset):
        values = dict(_flat(ObjectiveConfig(preset=preset).model_dump()))
        changed = [f"`{k}: {_yaml(v)}`" for k, v in values.items() if v != plain[k] != "default"]
        yield f"| `{preset}` | {', '.join(changed) or 'the defaults above'} |"
    yield ""


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _yaml(value: Any) -> str:
    """The value as it stands in a configuration."""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump([plain], default_flow_style=True, width=float("inf"))
    return text.strip()[1:-1]


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
