"""Why a batch may not be what it was: shards, sets and code compared with what the run left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.config.secrets import public
from dist_erase.data.order import ORDER_VERSION
from dist_erase.data.set_index import same_content
from dist_erase.data.source import is_remote, make_source
from dist_erase.data.stream import StreamPlan
from dist_erase.observability.rows import Row
from dist_erase.training.recipe import Recipe

_LISTED = 10


def what_changed(
    config: RunConfig | PretrainConfig, folder: Path, recipe: Recipe, row: Row
) -> tuple[str, ...]:
    """What is not as it was when the run read it, in words.

    Args:
        config: the run's.
        folder: the run folder.
        recipe: of the run, planned now.
        row: the step's; {} if it was not recorded.
    """
    plans = [plan for plan in (recipe.data.forget, recipe.data.retain) if plan is not None]
    shards = [text for plan in plans for text in _changed_shards(plan, row)]
    if len(shards) > _LISTED:
        shards = [*shards[:_LISTED], f"… and {len(shards) - _LISTED:,} more shards."]
    return (*_of_checkpoint(folder, plans), *shards)


def _changed_shards(plan: StreamPlan, row: Row) -> Iterator[str]:
    """Shards of the set that differ from the index, or were written after the step."""
    source = make_source(plan.index.settings)
    for shard in plan.index.shards:
        try:
            now = source.stat(shard.path)
        except OSError as error:
            yield f"{public(shard.path)}: {error.strerror or error}."
            continue
        then, path = shard.summary, public(shard.path)
        if now.size != then.size:
            yield f"{path}: {then.size:,} bytes when it was indexed, {now.size:,} now."
        elif now.version != then.version:
            yield f"{path}: written again since it was indexed, with as many bytes."
        elif not is_remote(shard.path) and "time" in row:
            written = Path(shard.path).stat().st_mtime
            if written > row["time"]:
                yield f"{path}: written at {_when(written)}, after the step."


def _of_checkpoint(folder: Path, plans: list[StreamPlan]) -> Iterator[str]:
    """What the newest checkpoint says of the sets and the order."""
    states = sorted((folder / "checkpoints").glob("step-*/state.json"))
    if not states:
        return
    state: dict[str, Any] = json.loads(states[-1].read_text(encoding="utf-8"))
    if state["order_version"] != ORDER_VERSION:
        yield (
            f"the order of samples is version {ORDER_VERSION} of this program, the run's was "
            f"{state['order_version']}."
        )
    for plan in plans:
        then = state["identity"].get(f"{plan.name} set")
        if then is not None and not same_content(plan.index.fingerprint, then):
            yield f"the {plan.name} set is another than the run's last checkpoint says."


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
