"""The same run started by the `deepspeed` launcher or torchrun: no Ray, teacher in each process."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.distributed.context import RankContext
from dist_erase.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    InterruptedRunError,
    UserError,
)
from dist_erase.models.frozen import load_frozen
from dist_erase.observability.emit import Metrics
from dist_erase.orchestration.evidence import measure_erased, measure_original, show, write_report
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.rank import read_outcome, run_rank
from dist_erase.orchestration.run_folder import claim, index_cache
from dist_erase.orchestration.watching import watched
from dist_erase.teacher.local import LocalTeacher
from dist_erase.training.data_plan import DataPlan, plan_run
from dist_erase.training.engine import start_deepspeed


def main(arguments: list[str] | None = None) -> int:
    """Runs this process's rank; gives the exit code (0, 2 user error, 75 interrupted)."""
    options = _parse(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        config = absolute(load_config(Path(options.config), options.overrides, RunConfig).config)
        _run(config, options, stop)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
    except InterruptedRunError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_INTERRUPTED
    return EXIT_DONE


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Erase with the deepspeed launcher, without Ray.")
    parser.add_argument("--config", required=True, help="YAML file, as for `dist-erase run`")
    parser.add_argument("--resume", action="store_true", help="continue the run in its folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in its folder")
    parser.add_argument("--local_rank", type=int, default=0, help="set by the launcher")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_args(arguments)


def _run(config: RunConfig, options: argparse.Namespace, stop: threading.Event) -> None:
    device = _device(options.local_rank)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])))
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend)
    start_deepspeed(backend)
    context = RankContext(
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        device=device,
        should_stop=stop.is_set,
    )
    with ExitStack() as stack:

        def prepare() -> tuple[DataPlan, Path]:
            data = plan_run(config, index_cache(config), look_for_overlap=True)
            data.check_world(context.world, where="number of processes")
            return data, claim(config, resume=options.resume, overwrite=options.overwrite)

        data, folder = context.from_first(prepare)
        watching = watched(config.observe, folder, run=config.run.name)
        metrics = stack.enter_context(watching if context.is_first else nullcontext(None))
        clip = load_frozen(
            config.model,
            dtype=config.teacher.dtype,
            device=str(device),
            micro_batch=config.teacher.micro_batch,
        )
        run_rank(config, folder, context, LocalTeacher(clip))
        dist.destroy_process_group()
        if context.is_first:
            _finish(config, folder, data, metrics, str(device))


def _finish(
    config: RunConfig, folder: Path, data: DataPlan, metrics: Metrics | None, device: str
) -> None:
    outcome: dict[str, Any] = read_outcome(folder)
    report = write_report(
        config,
        folder,
        data,
        before=measure_original(config, data, device),
        after=measure_erased(config, data, folder, device),
        outcome=outcome,
        metrics=metrics,
    )
    show(report, folder, Console())


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
