"""The same run started by the `deepspeed` launcher or torchrun: no Ray, teacher in each process."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from rich.console import Console

from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.cpu_memory import keep_freed_memory
from dist_erase.distributed.context import RankContext, limit_waits
from dist_erase.errors import (
    EXIT_DONE,
    EXIT_GOAL_MISSED,
    InterruptedRunError,
)
from dist_erase.models.frozen import load_frozen
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.orchestration.ending import ending
from dist_erase.orchestration.evidence import missed_goals, show, write_report
from dist_erase.orchestration.facts import state_facts
from dist_erase.orchestration.launcher import Launcher
from dist_erase.orchestration.lost_ranks import (
    contact,
    join_ranks,
)
from dist_erase.orchestration.measuring import measure_erased, measure_original, told
from dist_erase.orchestration.outcome import read_outcome
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.rank import run_rank
from dist_erase.orchestration.rank_words import Word, from_first, on_every_rank, own_words
from dist_erase.orchestration.run_folder import alone, claim, discard_unstarted, index_cache
from dist_erase.orchestration.signals import SAME_SECONDS, START_AGAIN, Sigterm
from dist_erase.orchestration.stop_request import stop_requested
from dist_erase.orchestration.watching import exposure, metrics_folder, watched
from dist_erase.teacher.local import LocalTeacher
from dist_erase.training.data_plan import plan_run
from dist_erase.training.engine import start_deepspeed
from dist_erase.training.recipe import recipe_for_run

T = TypeVar("T")
_START_SECONDS = 1800.0  # the first rank may have to index a large pool, while the others wait
_LOOK_SECONDS = 0.5
_GO_ON = "the same command with --resume goes on"


def main(arguments: list[str] | None = None) -> int:
    """Runs this process's rank; gives the exit code, as `dist-erase run` has them."""
    options = _parse(arguments)
    word = Word(options.end_at)
    try:
        with word.of_end():
            config = absolute(
                load_config(Path(options.config), options.overrides, RunConfig).config
            )
            with Sigterm(_GO_ON if options.resume else START_AGAIN) as sigterm:
                missed = _run(config, options, sigterm, word)
    except Exception:
        if word.code is None:
            raise
        return word.code
    for goal in missed:
        sys.stderr.write(f"goal missed: {goal}\n")
    return EXIT_GOAL_MISSED if missed else EXIT_DONE


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Erase with the deepspeed launcher, without Ray.")
    parser.add_argument("--config", required=True, help="YAML file, as for `dist-erase run`")
    parser.add_argument("--resume", action="store_true", help="continue the run in its folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in its folder")
    parser.add_argument("--end-at", help="set by launch.py: the file for rank 0's exit code")
    parser.add_argument("--local_rank", help="set by the launcher; the environment says it too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args(arguments)


def _run(config: RunConfig, options: argparse.Namespace, sigterm: Sigterm, word: Word) -> list[str]:
    """Trains, and on rank 0 measures and reports; gives the goals that were missed."""
    launcher = Launcher()
    device = _device()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // _local_world()))
    if device.type == "cpu":
        keep_freed_memory()
    backend = "nccl" if device.type == "cuda" else "gloo"
    join_ranks(backend, seconds=config.train.rank_timeout_seconds)
    limit_waits(_START_SECONDS)
    start_deepspeed(backend)
    context = RankContext(rank=dist.get_rank(), world=dist.get_world_size(), device=device)
    with ExitStack() as stack, word.of_end():
        folder = from_first(context, lambda: _claim(config, options, context.world, stack))
        metrics_at = from_first(context, lambda: metrics_folder(config.observe, folder))
        shown = from_first(context, lambda: exposure(config.observe, folder))
        metrics = on_every_rank(
            context, lambda: _show(config, folder, metrics_at, shown, context, stack)
        )
        missed: list[str] = []
        if context.is_first:
            missed = stack.enter_context(ending(folder, metrics))
        with contact(folder, sigterm.go_on):
            clip = on_every_rank(
                context,
                lambda: load_frozen(
                    config.model,
                    dtype=config.teacher.dtype,
                    device=str(device),
                    micro_batch=config.teacher.micro_batch,
                ),
            )
        context = replace(
            context,
            should_stop=lambda: (
                sigterm.asked()
                or launcher.asked()
                or (stop_requested(folder) if context.is_first else None)
            ),
        )
        sigterm.go_on = _GO_ON
        with sigterm.training(), own_words(folder, context.rank, _GO_ON):
            run_rank(config, folder, context, LocalTeacher(clip), metrics_at=metrics_at)
        dist.destroy_process_group()
        if context.is_first:
            missed += _finish(config, folder, metrics, metrics_at, str(device))
    return missed


def _claim(config: RunConfig, options: argparse.Namespace, world: int, stack: ExitStack) -> Path:
    data = plan_run(config, index_cache(config), look_for_overlap=True)
    data.check_world(world, where="number of processes")
    recipe_for_run(config, data).check()
    stack.enter_context(alone(config))
    folder = claim(config, resume=options.resume, overwrite=options.overwrite)
    if not options.resume:
        stack.callback(discard_unstarted, folder)
    return folder


def _show(
    config: RunConfig,
    folder: Path,
    metrics_at: Path,
    shown: Exposure,
    context: RankContext,
    stack: ExitStack,
) -> Metrics | None:
    """Rank 0 shows the run, and the first rank of another node the processes there."""
    if context.is_first:
        metrics = stack.enter_context(watched(config.observe, folder, metrics_at=metrics_at))
        state_facts(metrics, config, world=context.world)
        return metrics
    if config.observe.per_node and _local_rank() == 0:
        exporter = RunExporter(metrics_at, shown, node=platform.node())
        stack.callback(exporter.close)
    return None


@contextmanager
def _ends_when_asked(folder: Path) -> Iterator[None]:
    """Inside, `RUN/stop` ends the work at once, as SIGTERM does: no step would be lost.

    A thread looks for it and signals this one, for which `Sigterm` must be in force: loading,
    ranking and drawing are long, and have no place to ask at.
    """
    over, worker = threading.Event(), threading.get_ident()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if stop_requested(folder) is not None:
                signal.pthread_kill(worker, signal.SIGTERM)
                over.wait(2 * SAME_SECONDS)  # then again: a retry may have taken it for its own

    asked = stop_requested(folder)  # after the last step's question
    if asked is not None:
        raise InterruptedRunError(None, asked, _GO_ON)
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        try:
            yield
        finally:
            over.set()
            looking.join()
    except InterruptedRunError as error:
        raise InterruptedRunError(None, stop_requested(folder) or error.asked, _GO_ON) from None


def _finish(
    config: RunConfig, folder: Path, metrics: Metrics | None, metrics_at: Path, device: str
) -> list[str]:
    with _ends_when_asked(folder):
        outcome: dict[str, Any] = read_outcome(folder)
        data = plan_run(config, index_cache(config), look_for_overlap=True)
        with told(config.run.name, metrics_at, data, "original", "erased") as progress:
            before = measure_original(config, data, device, progress)
            after = measure_erased(config, data, folder, device, progress)
        report = write_report(
            config, folder, data, before=before, after=after, outcome=outcome, metrics=metrics
        )
    show(report, folder, Console())
    return missed_goals(config, report)


def _local_world() -> int:
    """Processes on this machine: torchrun and DeepSpeed's launcher name them differently."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ["LOCAL_SIZE"])


def _local_rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank = _local_rank()
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
