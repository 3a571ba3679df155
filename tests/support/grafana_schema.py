"""Grafana's dashboard schema, as the models of its own SDK hold it.

The models are generated from Grafana's schema, so their annotations are that schema's types. The
SDK itself drops keys that it does not know and checks no value; here both are errors.
"""

from __future__ import annotations

import enum
import json
import types
import typing
import warnings
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()


def problems(text: str) -> list[str]:
    """What of a dashboard's JSON is not as Grafana's schema says; [] = nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parsed = Dashboard.from_json(json.loads(text))
    again = json.loads(json.dumps(parsed, cls=JSONEncoder))
    return [*_lost(json.loads(text), again, "dashboard"), *_mistyped(parsed, "dashboard")]


def _lost(given: Any, kept: Any, where: str) -> list[str]:
    """Keys and items that the models do not know."""
    if isinstance(given, dict) and isinstance(kept, dict):
        unknown = [f"{where}.{key} is unknown" for key in given.keys() - kept.keys()]
        both = given.keys() & kept.keys()
        return unknown + [x for key in both for x in _lost(given[key], kept[key], f"{where}.{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [x for i, (one, other) in pairs for x in _lost(one, other, f"{where}[{i}]")]
    return [] if given == kept else [f"{where} is {given!r}, read as {kept!r}"]


def _mistyped(value: Any, where: str) -> list[str]:
    """Attributes of a model, and of the models in it, that are not of their annotated type."""
    found = []
    for name, hint in typing.get_type_hints(type(value)).items():
        inner = getattr(value, name)
        if not _fits(inner, hint):
            found.append(f"{where}.{name}: {inner!r} is not {hint}")
        found += _inside(inner, f"{where}.{name}")
    return found


def _inside(value: Any, where: str) -> list[str]:
    if isinstance(value, list):
        return [x for i, item in enumerate(value) for x in _inside(item, f"{where}[{i}]")]
    if isinstance(value, dict):
        return [x for key, item in value.items() for x in _inside(item, f"{where}.{key}")]
    return _mistyped(value, where) if hasattr(type(value), "from_json") else []


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or hint is object:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [member.value for member in hint]
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, dict) and hasattr(hint, "from_json"):  # the SDK left it as it was
        return value.keys() <= set(hint.from_json(value).to_json()) and not _mistyped(
            hint.from_json(value), ""
        )
    return isinstance(value, hint)
