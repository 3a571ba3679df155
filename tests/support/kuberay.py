"""A JSON schema of KubeRay's resources from our table tests/launchers/kuberay-fields.yaml.

It is not KubeRay's own: the CRDs are megabytes of pod fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import yaml

TABLE = yaml.safe_load(
    (Path(__file__).parents[1] / "launchers" / "kuberay-fields.yaml").read_text(encoding="utf-8")
)
_PLAIN = {
    "any": {},
    "text": {"type": "string"},
    "count": {"type": "integer", "minimum": 0},
    "number": {"type": "number", "minimum": 0},
    "yes or no": {"type": "boolean"},
    "{text}": {"type": "object", "additionalProperties": {"type": "string"}},
}


def problems(resource: dict[str, Any]) -> list[str]:
    """What does not fit in a manifest, each with its place; a kind of its own is one, too."""
    kind = resource.get("kind")
    if kind not in TABLE:
        return [f"kind: {kind!r} is unknown"]
    found = jsonschema.Draft202012Validator(_schema(kind)).iter_errors(resource)
    return sorted(f"{'.'.join(map(str, error.path))}: {error.message}" for error in found)


def _schema(name: str) -> dict[str, Any]:
    if name in _PLAIN:
        return dict(_PLAIN[name])
    if name.startswith("is "):
        return {"const": name[3:]}
    if name.startswith("["):
        return {"type": "array", "items": _schema(name[1:-1])}
    if name not in TABLE:
        return {"enum": name.split("|")}
    fields = TABLE[name]
    return {
        "type": "object",
        "properties": {field.rstrip("!"): _schema(kind) for field, kind in fields.items()},
        "required": [field[:-1] for field in fields if field.endswith("!")],
        "additionalProperties": False,
    }
