"""Makes a configuration from a YAML file and `key.sub=value`, and remembers who said what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from dist_erase.config.document import parse_yaml
from dist_erase.config.explain import describe
from dist_erase.config.nearest import did_you_mean
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.config.secrets import public, recorded
from dist_erase.errors import UserError

Kind = TypeVar("Kind", bound=RunConfig | PretrainConfig)
_COMMAND_LINE = "command line"


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[Kind]):
    """A configuration and where each of its values comes from.

    Attributes:
        config: the typed configuration.
        origins: for each value's dotted key: `default`, `preset NAME`, the file's name, or
            `command line`.
    """

    config: Kind
    origins: dict[str, str]


def load_config(path: Path, overrides: Sequence[str], kind: type[Kind]) -> Loaded[Kind]:
    """Reads the file, applies the overrides in order, fills in preset and defaults, checks all.

    Args:
        path: YAML file.
        overrides: `key.sub=value`; the value is YAML and replaces what the file says there.
        kind: RunConfig or PretrainConfig.

    Raises:
        UserError: a missing or malformed file, a malformed override, or a configuration that does
            not fit; then one message lists every error.
    """
    raw = read_yaml(path)
    origins = dict.fromkeys(flat(raw), str(path))
    for override in overrides:
        _apply(raw, origins, override)
    try:
        config = cast(Kind, kind.model_validate(raw))
    except ValidationError as error:
        raise _refusal(error, raw, origins, path, kind) from error
    values = flat(config.model_dump())
    return Loaded(config=config, origins={k: origins.get(k) or _filled(config, k) for k in values})


def kind_of(path: Path) -> type[RunConfig] | type[PretrainConfig]:
    """What a file configures: only pretraining has `data.train`; UserError if it is no YAML."""
    data = read_yaml(path).get("data")
    return PretrainConfig if isinstance(data, dict) and "train" in data else RunConfig


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; UserError if there is no such file, or it holds none."""
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = [str(found) for found in _configurations_near(path)]
        raise UserError(
            str(path),
            "does not exist.",
            f"{did_you_mean(str(path), known)}Name a YAML file, for instance one in configs/.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"cannot be read ({error}).", "Name a YAML file.") from error
    except yaml.YAMLError as error:
        raise UserError(
            str(path), f"is not valid YAML: {_first_line(error)}.", "Mend that line."
        ) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(str(path), "holds no keys.", "Write `section:` and `key: value` lines.")
    return value


def _configurations_near(path: Path) -> list[Path]:
    folders = [folder for folder in (path.parent, Path("configs")) if folder.is_dir()]
    return [found for folder in folders for found in sorted(folder.glob("**/*.y*ml"))]


def _first_line(error: yaml.YAMLError) -> str:
    """`problem (line N)`; PyYAML's own text spans several lines."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f" (line {mark.line + 1})" if mark else ""
    return f"{problem or str(error).splitlines()[0]}{where}"


def _apply(raw: dict[str, Any], origins: dict[str, str], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(
            public(override),
            "is not an override.",
            "Write key.sub=value, for instance train.lr=1e-5.",
        )
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(
            key, f"has a value that is not YAML: {_first_line(error)}.", "Mend or quote it."
        ) from error
    if recorded(value) != value:
        raise UserError(
            key,
            "holds a signature, and a command line is seen by everyone on the machine.",
            "Write it into the configuration file.",
        )
    section = raw
    for number, part in enumerate(parts[:-1], start=1):
        inner = section.get(part)
        if inner is not None and not isinstance(inner, dict):
            raise UserError(
                key,
                f"goes below {'.'.join(parts[:number])}, which is {public(repr(inner))} and holds "
                "no keys.",
                "Mend the key.",
            )
        section[part] = section = dict(inner or {})
        origins.pop(".".join(parts[:number]), None)
    section[parts[-1]] = value
    dotted = ".".join(parts)
    for stale in [k for k in origins if k == dotted or k.startswith(dotted + ".")]:
        del origins[stale]
    origins |= dict.fromkeys(flat(value, dotted), _COMMAND_LINE)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The value of every dotted key below which no further keys stand."""
    if not isinstance(value, dict) or not value:
        return {prefix: value} if prefix else {}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _filled(config: RunConfig | PretrainConfig, dotted: str) -> str:
    """Who set a value that neither the file nor the command line gives."""
    value: Any = config
    for part in dotted.split("."):
        fields_set: set[str] = getattr(value, "model_fields_set", set())
        if part not in fields_set:
            return "default"
        value = getattr(value, part)
    # Only the preset's validator sets fields besides the user.
    assert isinstance(config, RunConfig)
    return f"preset {config.objective.preset}"


def _refusal(
    error: ValidationError,
    raw: dict[str, Any],
    origins: dict[str, str],
    path: Path,
    kind: type[BaseModel],
) -> UserError:
    other = PretrainConfig if kind is RunConfig else RunConfig
    if _fits(raw, other):
        command = "pretrain" if other is PretrainConfig else "run"
        return UserError(
            str(path), f"is a configuration for `dist-erase {command}`.", "Use it with that."
        )
    problems = describe(error, raw, kind)
    mend = "`dist-erase config --schema` lists every key."
    if len(problems) == 1:
        ((key, text),) = problems.items()
        return UserError(f"{key} ({_origin(key, origins, path)})", text, mend)
    lines = [f"  {key} ({_origin(key, origins, path)}): {text}" for key, text in problems.items()]
    text = "\n".join([f"has {len(problems)} errors:", *lines, ""])
    return UserError("configuration", text, mend)


def _origin(key: str, origins: dict[str, str], path: Path) -> str:
    """Who gave a key or something below it; what is missing is missing in the file."""
    return next((o for k, o in origins.items() if f"{k}.".startswith(f"{key}.")), str(path))


def _fits(raw: dict[str, Any], kind: type[BaseModel]) -> bool:
    try:
        kind.model_validate(raw)
    except ValidationError:
        return False
    return True
