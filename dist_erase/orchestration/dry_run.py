"""What a run would do, in words, without doing it."""

from __future__ import annotations

import math

from dist_erase.config.run import RunConfig
from dist_erase.data.pairs import StreamPlan
from dist_erase.data.read import open_bytes
from dist_erase.errors import UserError
from dist_erase.orchestration.cluster import check_room, cluster, resources_in_words
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.run_folder import folder_of, index_cache
from dist_erase.training.data_plan import DataPlan, plan_run
from dist_erase.training.recipe import recipe_for_run

_SMALLEST_BLOCK = 8  # worth a request of its own


def describe(config: RunConfig) -> str:
    """Steps, passes, world sizes, resources asked and at hand, and where all is written.

    Raises:
        UserError: anything that would stop the run before its first step, but too small a
            cluster, which is said in its line.
    """
    config = absolute(config)
    data = plan_run(config, index_cache(config), look_for_overlap=True)
    data.check_world(config.ray.workers, where="ray.workers")
    recipe = recipe_for_run(config, data)
    recipe.check()
    source = recipe.source
    folder = folder_of(config)
    forget, retain = data.forget, data.retain
    assert forget is not None
    left_out = f"{forget.order.left_out} forget, {retain.order.left_out} retain"
    facts = {
        "model": source.pretrained or source.name,
        "forget set": f"{len(forget.index):,} pairs in {len(forget.index.shards)} shards",
        "retain set": f"{len(retain.index):,} pairs in {len(retain.index.shards)} shards",
        "shared images": str(data.overlap["method"]),
        "steps": f"{data.steps:,} of {forget.order.batch} forget + {retain.order.batch} retain "
        f"pairs; left out of each pass: {left_out}",
        "forget passes": f"each forget pair is seen {data.forget_passes(data.steps):.2f} times",
        "epochs": f"{data.epoch(data.steps):.2f} passes over {data.epoch_of}",
        "reading": _reading(config, data),
        "world sizes": ", ".join(map(str, data.worlds())) + f" (this run: {config.ray.workers})",
        **_resources(config),
        "run folder": f"{folder}{' (exists)' if folder.exists() else ''}",
        "model folder": str(folder / "model"),
        "report": f"{folder / 'report.html'}, {folder / 'report.json'}",
    }
    return "\n".join(f"{name + ':':<16}{fact}" for name, fact in facts.items())


def _reading(config: RunConfig, data: DataPlan) -> str:
    """Whether a data worker keeps the blocks that its streams have open, for each set."""
    assert data.forget is not None
    sets = {"forget": data.forget, "retain": data.retain}
    parts = config.ray.workers * max(1, config.data.workers)
    streams = sum(-(-plan.order.streams // parts) for plan in sets.values())
    return "; ".join(f"{name} {_units(config, plan, streams)}" for name, plan in sets.items())


def _units(config: RunConfig, plan: StreamPlan, streams: int) -> str:
    block, limit = config.data.block, config.data.cache_bytes
    needed = open_bytes(plan.index, block, streams, whole=plan.order.whole)
    if not 0 < limit < needed:
        return f"in blocks of {block}"
    mend = f"data.cache_bytes={math.ceil(needed)}"
    smaller = int(block * limit / needed)
    if not plan.order.whole and smaller >= _SMALLEST_BLOCK:
        mend += f" or data.block={smaller}"
    return f"one sample at a time ({mend} would allow blocks, quicker from a remote store)"


def _resources(config: RunConfig) -> dict[str, str]:
    try:
        with cluster(config.ray):
            asked, present = resources_in_words(config)
            try:
                check_room(config)
            except UserError as error:
                return {"resources": f"asked {asked}; at hand {present}: {error}"}
    except UserError as error:
        return {"resources": str(error)}
    return {"resources": f"asked {asked}; at hand {present}"}
