"""The function that Ray Train runs on each rank."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from dist_erase.config.run import RunConfig
from dist_erase.distributed.context import RankContext
from dist_erase.errors import InterruptedRunError, UserError
from dist_erase.models.frozen import load_frozen
from dist_erase.orchestration.drain import DrainWatch
from dist_erase.orchestration.outcome import leave_user_error, user_error
from dist_erase.orchestration.rank import run_rank
from dist_erase.orchestration.shared_folder import all_see
from dist_erase.orchestration.stop_request import stop_requested
from dist_erase.teacher.client import TeacherClient
from dist_erase.teacher.local import LocalTeacher
from dist_erase.teacher.router import PoolClient
from dist_erase.training.engine import start_deepspeed


def train_rank(settings: dict[str, Any]) -> None:
    """One rank, from Ray's settings.

    Args:
        settings: `config` (RunConfig as a dictionary, sealed), `folder`, `metrics_at` (paths),
            `teachers` (actor handles).
    """
    config = RunConfig.model_validate(settings["config"].value)
    folder = Path(settings["folder"])
    if user_error(folder) is not None:
        return  # left by an earlier attempt; the driver reports it
    world = ray.train.get_context()
    device = ray.train.torch.get_device()
    torch.set_num_threads(max(1, int(config.ray.resources_per_worker.get("CPU", 1))))
    start_deepspeed("nccl" if device.type == "cuda" else "gloo")
    if not all_see(folder, device):
        return  # the driver says so, since nothing was left in its folder
    drain = DrainWatch()
    rank = world.get_world_rank()
    context = RankContext(
        rank=rank,
        world=world.get_world_size(),
        device=device,
        # One rank looks for the file, so that a slow shared folder costs all of them nothing.
        should_stop=lambda: (stop_requested(folder) if rank == 0 else None) or drain.asked(),
    )
    try:
        with closing(_teacher(config, folder, context, settings["teachers"])) as teacher:
            run_rank(config, folder, context, teacher, metrics_at=Path(settings["metrics_at"]))
    except InterruptedRunError:
        return  # rank 0 left word for the driver; an error here would be retried
    finally:
        drain.close()


def _teacher(
    config: RunConfig, folder: Path, context: RankContext, handles: list[Any]
) -> TeacherClient:
    if config.teacher.kind == "pool":
        return PoolClient(
            handles,
            rank=context.rank,
            timeout_seconds=config.teacher.timeout_seconds,
            max_in_flight=config.teacher.prefetch + 1,
        )
    try:
        clip = load_frozen(
            config.model,
            dtype=config.teacher.dtype,
            device=str(context.device),
            micro_batch=config.teacher.micro_batch,
        )
    except UserError as error:
        leave_user_error(folder, error, rank=context.rank)
        raise
    return LocalTeacher(clip)
