"""Paths of a configuration as the cluster's nodes will see them."""

from __future__ import annotations

import json
from pathlib import Path

from dist_erase.config.data import named_sources
from dist_erase.config.load import flat
from dist_erase.config.model import LOCAL_DIR
from dist_erase.config.run import RunConfig
from dist_erase.config.source import runs_a_command
from dist_erase.errors import UserError
from dist_erase.orchestration.paths import absolute


def shared(config: RunConfig) -> list[str]:
    """KEY=VALUE that make relative paths absolute, where the nodes see this machine's files."""
    before, after = flat(config.model_dump()), flat(absolute(config).model_dump())
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in after.items()
        if value != before.get(key)
    ]


def refuse_relative(config: RunConfig) -> None:
    """Raises UserError for paths that mean nothing on the nodes; lists all of them."""
    relative = {key: path for key, path in _paths(config).items() if not Path(path).is_absolute()}
    missing = [
        f"{key}={path}"
        for key, path in (
            ("model.architecture", config.model.architecture),
            ("data.classes", config.data.classes or ""),
        )
        if path.endswith(".json") and not Path(path).is_absolute() and not Path(path).is_file()
    ]
    if missing:
        raise UserError(
            missing[0].partition("=")[0],
            f"there is no file {missing[0].partition('=')[2]} to bring along.",
            "Mend the path as seen from here, or give it as the nodes see it, from / on.",
        )
    if relative:
        listed = ", ".join(f"{key}={path}" for key, path in relative.items())
        first = next(iter(relative))
        raise UserError(
            first,
            "is no path that the cluster's nodes can know; data, weights and runs do not travel "
            f"with a job ({listed}).",
            f"Write such paths from / on, as the nodes see them ({first}=/shared/...), or use a "
            "launcher with `shared_disk: true` if they see this folder too.",
        )


def _paths(config: RunConfig) -> dict[str, str]:
    """Every path of something that stays where it is, by key."""
    found = {"run.dir": config.run.dir}
    for where, source in named_sources(config.data, "data"):
        patterns = [source.shards] if isinstance(source.shards, str) else source.shards
        local = [p for p in patterns if "://" not in p and not runs_a_command(p)]
        relative = [p for p in local if not Path(p).is_absolute()]
        found |= {f"{where}.shards": (relative or local)[0]} if local else {}
    pretrained = config.model.pretrained or ""
    if pretrained.startswith(LOCAL_DIR):
        found["model.pretrained"] = pretrained.removeprefix(LOCAL_DIR)
    elif Path(pretrained).is_file():
        found["model.pretrained"] = pretrained
    for key, path in (
        ("data.block_cache.dir", config.data.block_cache.dir),
        ("observe.web_config", config.observe.web_config),
    ):
        if path:
            found[key] = path
    return found
