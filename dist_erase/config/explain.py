"""Says what is wrong in a configuration, what it resolves to, and what could stand in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dist_erase.config.nearest import nearest
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.config.secrets import public, recorded


def schema(kind: type[RunConfig] | type[PretrainConfig]) -> str:
    """The JSON schema of every key, with descriptions, bounds and defaults."""
    return json.dumps(kind.model_json_schema(), indent=2, ensure_ascii=False)


def config_hash(config: RunConfig | PretrainConfig) -> str:
    """Hex SHA-256 of the resolved configuration as JSON with sorted keys and no spaces.

    Every value counts, defaults and `run.name` too; their order and origin do not, nor do
    signatures in URLs.
    """
    tree = recorded(config.model_dump(mode="json"))
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def resolved(config: RunConfig | PretrainConfig, origins: Mapping[str, str]) -> str:
    """The whole configuration as YAML; a comment behind each value says where it comes from."""
    lines = list(_lines(recorded(config.model_dump(mode="json")), origins, "", 0))
    width = min(max(len(text) for text, _ in lines), 60)
    return "\n".join(f"{text:<{width}}  # {who}" if who else text for text, who in lines) + "\n"


def _lines(
    section: Mapping[str, Any], origins: Mapping[str, str], prefix: str, depth: int
) -> Iterator[tuple[str, str | None]]:
    for key, value in section.items():
        indent, dotted = "  " * depth, f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield f"{indent}{_inline({key: None}).removesuffix(' null')}", None
            yield from _lines(value, origins, f"{dotted}.", depth + 1)
        else:
            yield f"{indent}{_inline({key: value})}", origins[dotted]


def _inline(pair: Mapping[str, Any]) -> str:
    """`key: value` in one line, quoted where YAML needs it."""
    text: str = yaml.safe_dump(
        pair, default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.strip()[1:-1]


def describe(error: ValidationError, raw: Any, kind: type[BaseModel]) -> dict[str, str]:
    """A sentence for each key at fault, in the order of the configuration's fields."""
    problems: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    for detail in error.errors():
        path = _key_path(detail["loc"], raw, missing=detail["type"] == "missing")
        key = ".".join(path) or "configuration"
        found[key] = detail["input"]
        if detail["type"] == "extra_forbidden":
            text = f"is not a key. {_suggest(path, kind)}"
        elif detail["type"] == "missing":
            text = "is needed and not given."
        elif detail["type"] == "model_type":
            text = f"must hold keys: {', '.join(_section_at(path, kind).model_fields)}."
        elif detail["type"] == "value_error":
            text = f"{detail['ctx']['error']}."
        else:
            text = detail["msg"].replace("Input should be", "must be").partition(", unable to")[0]
        problems.setdefault(key, []).append(text)
    return {key: _sentence(texts, found[key]) for key, texts in problems.items()}


def _sentence(texts: list[str], found: Any) -> str:
    """Joins what the members of a union say: must be 'auto' or a valid integer, not 'x'."""
    if not texts[0].startswith("must be "):
        return " ".join(dict.fromkeys(texts))
    rest = [text.removeprefix("must be ") for text in texts[1:]]
    return " or ".join(dict.fromkeys([texts[0], *rest])) + f", not {public(repr(found))}."


def _key_path(loc: tuple[int | str, ...], raw: Any, *, missing: bool) -> list[str]:
    """The part of pydantic's location that a user wrote, without the names of union members."""
    path: list[str] = []
    value = raw
    for number, part in enumerate(loc):
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            value = value[part]
        if is_key or is_index or (missing and number == len(loc) - 1):
            path.append(str(part))
    return path


def _suggest(path: list[str], kind: type[BaseModel]) -> str:
    """The key that was probably meant: a similar one beside it, or the same name elsewhere."""
    *parents, last = path
    siblings = list(_section_at(parents, kind).model_fields)
    elsewhere = [key for key in _keys(kind) if key.rpartition(".")[2] == last]
    meant = nearest(last, siblings)
    if meant:
        return f"Did you mean {'.'.join([*parents, meant])}?"
    if elsewhere:
        return f"Did you mean {elsewhere[0]}?"
    return f"The keys there are: {', '.join(siblings)}."


def _section_at(path: list[str], kind: type[BaseModel]) -> type[BaseModel]:
    for part in path:
        # A part that is no field is a free name: data.eval.untouched.NAME.
        if part in kind.model_fields:
            kind = next(_sections(kind.model_fields[part].annotation))
    return kind


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections in `Section`, `Section | None` and `dict[str, Section]`."""
    for member in (annotation, *get_args(annotation)):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member


def _keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all sections and keys."""
    for name, info in kind.model_fields.items():
        yield prefix + name
        for section in _sections(info.annotation):
            yield from _keys(section, f"{prefix}{name}.")
