"""A short erasing run on real ranks, without Ray and without a launcher."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dist_erase.config.run import RunConfig
from dist_erase.distributed.context import RankContext
from dist_erase.models.frozen import load_frozen
from dist_erase.orchestration.rank import run_rank
from dist_erase.orchestration.run_folder import claim, index_cache
from dist_erase.orchestration.watching import metrics_folder
from dist_erase.teacher.local import LocalTeacher
from dist_erase.training.data_plan import plan_run
from dist_erase.training.engine import start_deepspeed
from support.processes import run_ranks


def erase_on_ranks(config: RunConfig, ranks: int) -> Path:
    """Claims the run folder and trains, as a driver and its ranks do; gives the folder."""
    plan_run(config, index_cache(config), look_for_overlap=True)
    folder = claim(config)
    run_ranks(_erase, ranks, config.model_dump(mode="json"), str(folder), timeout_seconds=400)
    return folder


def _erase(rank: int, tree: dict[str, Any], folder: str) -> None:
    config = RunConfig.model_validate(tree)
    start_deepspeed("gloo")
    context = RankContext(rank=rank, world=dist.get_world_size(), device=torch.device("cpu"))
    clip = load_frozen(config.model, dtype="fp32", device="cpu", micro_batch=8)
    at = metrics_folder(config.observe, Path(folder))
    run_rank(config, Path(folder), context, LocalTeacher(clip), metrics_at=at)


def change_shard(shard: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Rewrites a tar; `change` gives a member's new content, or None to leave it out."""
    temporary = shard.with_suffix(".new")
    with tarfile.open(shard) as old, tarfile.open(temporary, "w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            data = change(member.name, file.read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    temporary.replace(shard)


def members(shard: Path) -> dict[str, bytes]:
    """Content by name."""
    with tarfile.open(shard) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
