"""The driver of an erasing run on Ray: pool, trainer, evidence, in that order.

Ray Train and open_clip take seconds to import. They are imported where they are needed, so that bad
input is refused at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayTaskError

from dist_erase.config.run import RunConfig
from dist_erase.errors import GO_ON, InterruptedRunError, is_mendable
from dist_erase.evaluation.embed import Measured
from dist_erase.imports import quick_imports
from dist_erase.observability.emit import Metrics
from dist_erase.observability.server import check_address
from dist_erase.orchestration.cluster import (
    check_room,
    cluster,
    wait_for_room,
    workers_find_room,
)
from dist_erase.orchestration.ending import ending
from dist_erase.orchestration.evidence import missed_goals, write_report
from dist_erase.orchestration.facts import state_facts
from dist_erase.orchestration.measure_entry import (
    measure_erased_on_node,
    measure_original_on_node,
)
from dist_erase.orchestration.node_exporters import NodeExporters
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.pool_watch import watched_pool
from dist_erase.orchestration.run_folder import (
    alone,
    check_claim,
    claim,
    discard_unstarted,
    index_cache,
)
from dist_erase.orchestration.shared_folder import outcome_of
from dist_erase.orchestration.shipped import settle
from dist_erase.orchestration.signals import SIGTERM, START_AGAIN, Sigterm
from dist_erase.orchestration.stop_request import request_stop
from dist_erase.orchestration.watching import exposure, metrics_folder, watched
from dist_erase.training.data_plan import plan_run
from dist_erase.training.recipe import recipe_for_run

if TYPE_CHECKING:
    from dist_erase.teacher.pool import TeacherPool

_LOOK_SECONDS = 1.0


def run_on_ray(config: RunConfig, *, resume: bool, overwrite: bool) -> tuple[dict[str, Any], Path]:
    """Erases, evaluates, exports, reports.

    Returns:
        The report and the run folder.

    Raises:
        UserError: bad input or too small a cluster; nothing was written unless training began.
        InterruptedRunError: asked to stop, by SIGTERM, a stop file, or the drain of a node whose
            workers find no room elsewhere, or a node is lost and none comes; `resume` continues.
    """
    config = absolute(settle(config))
    data = plan_run(config, index_cache(config), look_for_overlap=True)
    data.check_world(config.ray.workers, where="ray.workers")
    recipe_for_run(config, data).check()
    with ExitStack() as stack:
        stack.enter_context(alone(config))
        check_claim(config, resume=resume, overwrite=overwrite)
        stack.enter_context(cluster(config.ray))
        sigterm = stack.enter_context(Sigterm(GO_ON if resume else START_AGAIN))  # after Ray's own
        check_room(config)
        check_address(config.observe.bind, config.observe.port)
        with sigterm.waiting():
            wait_for_room(config, check=sigterm.check)
        # Before the folder is claimed: a model or an image that cannot be read costs nothing then.
        original = _answer(_ask(config, measure_original_on_node, config, data), sigterm)
        folder = claim(config, resume=resume, overwrite=overwrite)
        if not resume:
            stack.callback(discard_unstarted, folder)
        metrics_at = metrics_folder(config.observe, folder)
        metrics = _show(config, folder, metrics_at, stack)
        missed = stack.enter_context(ending(folder, metrics))
        pool = _start_pool(config, metrics_at, stack)
        sigterm.go_on = GO_ON
        with nullcontext() if pool is None else watched_pool(pool, metrics):
            outcome = _train(config, folder, metrics_at, pool, sigterm)
        if pool is not None:
            pool.shutdown()
        ask = _ask(config, measure_erased_on_node, config, data, folder, metrics_at)
        erased = _answer(ask, sigterm)
        report = write_report(
            config, folder, data, before=original, after=erased, outcome=outcome, metrics=metrics
        )
        missed += missed_goals(config, report)
    return report, folder


def _show(config: RunConfig, folder: Path, metrics_at: Path, stack: ExitStack) -> Metrics:
    """Opens the metrics addresses; they close when the stack does, all at once."""
    job = ray.get_runtime_context().get_job_id()
    nodes = None
    if config.observe.per_node:
        nodes = NodeExporters(metrics_at, exposure(config.observe, folder, ray_job_id=job))
        stack.callback(nodes.wait)
    metrics = stack.enter_context(
        watched(config.observe, folder, metrics_at=metrics_at, ray_job_id=job)
    )
    if nodes is not None:
        stack.enter_context(nodes)
    state_facts(metrics, config, world=config.ray.workers, ray_job_id=job)
    return metrics


def _start_pool(config: RunConfig, metrics_at: Path, stack: ExitStack) -> TeacherPool | None:
    if config.teacher.kind == "local":
        return None
    from dist_erase.teacher.pool import TeacherPool

    return stack.enter_context(
        TeacherPool.start(
            config.model,
            config.teacher,
            resources=config.ray.teacher_resources,
            run=config.run.name,
            metrics_folder=metrics_at,
            placement=config.ray.teacher_placement,
        )
    )


def _train(
    config: RunConfig,
    folder: Path,
    metrics_at: Path,
    pool: TeacherPool | None,
    sigterm: Sigterm,
) -> dict[str, Any]:
    """Trains to the end and gives the outcome; when a node is drained, on others if they suffice.

    Raises:
        InterruptedRunError: as `run_on_ray` does.
    """
    with quick_imports():
        from dist_erase.orchestration.fit import fit

    while True:
        try:
            with sigterm.training(partial(request_stop, folder, SIGTERM)):
                fit(config, folder, metrics_at, [] if pool is None else pool.handles)
                return outcome_of(folder)
        except InterruptedRunError as error:
            if error.asked.kind != "drain" or not _room_elsewhere(config, sigterm):
                raise
            sys.stderr.write(f"step {error.step}: {error.asked.words}; going on on other nodes\n")


def _room_elsewhere(config: RunConfig, sigterm: Sigterm) -> bool:
    with sigterm.waiting():
        return workers_find_room(config, check=sigterm.check)


def _ask(config: RunConfig, measure: Callable[..., Measured], *arguments: Any) -> Any:
    """Measures on the cluster, with the resources of a teacher replica."""
    resources = dict(config.ray.teacher_resources)
    options = ray.remote(measure).options(
        num_cpus=resources.pop("CPU", 0),
        num_gpus=resources.pop("GPU", 0),
        memory=resources.pop("memory", None),
        resources=resources,
    )
    return options.remote(*arguments)


def _answer(reference: Any, sigterm: Sigterm) -> Measured:
    """Waits; SIGTERM ends that within `_LOOK_SECONDS`, as InterruptedRunError."""
    with sigterm.waiting():
        done = False
        while not done:
            sigterm.check()
            done = bool(ray.wait([reference], timeout=_LOOK_SECONDS)[0])
    try:
        measured: Measured = ray.get(reference)
    except RayTaskError as error:
        if is_mendable(error.cause):
            raise error.cause from None
        raise
    return measured
