"""Manifests against the schemas of KubeRay's CRDs and of Kubernetes.

What is KubeRay's own stands in tests/launchers/kuberay-crds.yaml; pods and the like are checked
against the OpenAPI schema of Kubernetes in its strict form, where a field that Kubernetes would
drop is a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry, Resource

CRDS = yaml.safe_load(
    (Path(__file__).parents[1] / "launchers" / "kuberay-crds.yaml").read_text(encoding="utf-8")
)
_FILE = "kubernetes-json-schema/v1.33.0-local-strict/_definitions.json"
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[KMGTPE]i?)?")
_PLAIN = {
    "text": {"type": "string"},
    "count": {"type": "integer", "minimum": 0},
    "number": {"type": "number", "minimum": 0},
    "yes or no": {"type": "boolean"},
    "{text}": {"type": "object", "additionalProperties": {"type": "string"}},
}


def problems(resource: dict[str, Any]) -> list[str]:
    """What does not fit in a manifest, each with its place; an unknown kind is one, too."""
    kind = f"{resource.get('kind')}"
    version = f"is {resource.get('apiVersion')}"
    if CRDS.get(kind, {}).get("apiVersion!") == version:
        name = kind
    elif version == "is v1" and kind in _core_names():
        name = f"core {kind}"
    else:
        return [f"kind: {kind!r} is unknown"]
    validator = jsonschema.Draft202012Validator(_schema(name), registry=_registry())
    found = validator.iter_errors(resource)
    told = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in found]
    return sorted([*told, *_refused_later(resource)])


def _refused_later(resource: dict[str, Any]) -> Iterator[str]:
    """What every schema allows and the API server or a pod's start refuses."""
    if not resource.get("metadata", {}).get("name"):
        yield "metadata.name is missing"
    for path, container in _containers(resource, ()):
        if not container.get("image"):
            yield f"{'.'.join(path)}: {container.get('name')} has no image"
        for kind in ("requests", "limits"):
            for name, amount in container.get("resources", {}).get(kind, {}).items():
                if not _QUANTITY.fullmatch(str(amount)):
                    yield f"{'.'.join(path)}: {kind}.{name}: {amount!r} is no quantity"


def _containers(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict):
        for key, inner in tree.items():
            if key == "containers":
                yield from (((*path, key), container) for container in inner)
            else:
                yield from _containers(inner, (*path, key))
    elif isinstance(tree, list):
        for number, inner in enumerate(tree):
            yield from _containers(inner, (*path, str(number)))


@cache
def _core() -> dict[str, Any]:
    text = (files("kubernetes_validate") / _FILE).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def _registry() -> Registry[Any]:
    return Resource.from_contents(_core()) @ Registry()


@cache
def _core_names() -> dict[str, str]:
    """The full name of a type of core/v1 by its short one."""
    return {
        name.rpartition(".")[2]: name
        for name in _core()["$defs"]
        if name.startswith("io.k8s.api.core.v1.") or name.endswith("meta.v1.ObjectMeta")
    }


def _schema(name: str) -> dict[str, Any]:
    if name in _PLAIN:
        return dict(_PLAIN[name])
    if name.startswith("core "):
        return {"$ref": f"{_core()['$id']}#/$defs/{_core_names()[name.removeprefix('core ')]}"}
    if name.startswith("is "):
        return {"const": name[3:]}
    if name.startswith("["):
        return {"type": "array", "items": _schema(name[1:-1])}
    if name not in CRDS:
        return {"enum": name.split("|")}
    fields = CRDS[name]
    return {
        "type": "object",
        "properties": {field.rstrip("!"): _schema(kind) for field, kind in fields.items()},
        "required": [field[:-1] for field in fields if field.endswith("!")],
        "additionalProperties": False,
    }
