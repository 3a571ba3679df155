"""The driver's side of the teacher pool: places the replicas, starts them, ends them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from dist_erase.config.model import ModelConfig
from dist_erase.config.run import TeacherConfig
from dist_erase.errors import UserError, is_mendable
from dist_erase.teacher.actor import TeacherReplica
from dist_erase.teacher.protocol import Life, Pong, ReplicaSpec

_CLOSE_SECONDS = 3.0


class TeacherPool:
    """Replicas of the teacher as Ray actors; they end with the driver at the latest.

    Ray restarts a replica that dies, in its place.

    Attributes:
        handles: for `router.PoolClient`.
        restarts: how often each replica was found in another process, as `replicas_up` saw it.

    Args:
        group: where the replicas are.
        handles: of the replicas, by index.
        stuck_seconds: a replica that is longer at one request hangs.
    """

    def __init__(
        self, group: PlacementGroup, handles: tuple[Any, ...], *, stuck_seconds: float
    ) -> None:
        self.handles = handles
        self._group = group
        self._stuck_seconds = stuck_seconds
        self._asked: list[tuple[Any, float]] = []
        self._up = [True] * len(handles)
        self._pids: list[int] = []
        self.restarts = [0] * len(handles)

    @classmethod
    def start(
        cls,
        model: ModelConfig,
        config: TeacherConfig,
        *,
        resources: Mapping[str, float],
        run: str,
        metrics_folder: Path | None,
        placement: Literal["pack", "spread"] = "pack",
        placement_seconds: float = 30.0,
        load_seconds: float = 600.0,
    ) -> TeacherPool:
        """Places `config.replicas` replicas and waits until each has loaded the model.

        Args:
            model: the original model.
            config: the `teacher` section.
            resources: Ray resources of one replica; with "GPU" it runs on CUDA, "CPU" are its
                threads.
            run: name of the run, for metrics.
            metrics_folder: where replicas write metrics snapshots; None = nowhere.
            placement: on few nodes or on many.
            placement_seconds: how long to wait for resources.
            load_seconds: how long loading may take.

        Raises:
            UserError: resources are missing, or the model cannot be loaded; nothing is left.
        """
        group = _place(config.replicas, dict(resources), placement, placement_seconds)
        spec = ReplicaSpec(
            model=model,
            dtype=config.dtype,
            micro_batch=config.micro_batch,
            device="cuda" if resources.get("GPU") else "cpu",
            threads=max(1, int(resources.get("CPU", 1))),
            run=run,
            metrics_folder=metrics_folder,
        )
        handles = tuple(
            _start_replica(group, spec, index, dict(resources)) for index in range(config.replicas)
        )
        # Whoever waits for an answer gives it up after that time, too.
        pool = cls(group, handles, stuck_seconds=config.timeout_seconds)
        try:
            pool._pids = [pong.pid for pong in _wait_until_loaded(handles, load_seconds)]
        except BaseException:
            pool.shutdown()
            raise
        return pool

    def pongs(self, timeout_seconds: float = 30.0) -> list[Pong]:
        """A sign of life of each replica; RayError when one is dead, restarting or late."""
        pongs: list[Pong] = ray.get(
            [h.ping.remote() for h in self.handles], timeout=timeout_seconds
        )
        return pongs

    def replica_pids(self) -> list[int]:
        """Process id of each replica."""
        return [pong.pid for pong in self.pongs()]

    def replicas_up(self, late_seconds: float) -> list[bool]:
        """Whether each replica works, without waiting: for metrics, to be called regularly.

        How much waits in its queue is no matter: a busy replica is up.

        Args:
            late_seconds: a replica whose process does not answer for longer than this is down.
        """
        now = time.monotonic()
        if not self._asked:
            self._asked = [(h.alive.remote(), now) for h in self.handles]
        for index, (call, sent) in enumerate(self._asked):
            if ray.wait([call], timeout=0)[0]:
                self._up[index] = self._works(index, call)
                self._asked[index] = (self.handles[index].alive.remote(), now)
            elif now - sent > late_seconds:
                self._up[index] = False
        return list(self._up)

    def _works(self, index: int, call: Any) -> bool:
        try:
            life: Life = ray.get(call)
        except RayError:
            return False
        self.restarts[index] += life.pid != self._pids[index]
        self._pids[index] = life.pid
        return life.works(self._stuck_seconds)

    def shutdown(self) -> None:
        """Ends the replicas, after a moment for their last metrics, and frees their place."""
        ray.wait(
            [h.close.remote() for h in self.handles],
            num_returns=len(self.handles),
            timeout=_CLOSE_SECONDS,
        )
        for handle in self.handles:
            ray.kill(handle)
        remove_placement_group(self._group)

    def __enter__(self) -> TeacherPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()


def _place(
    replicas: int,
    resources: dict[str, float],
    placement: Literal["pack", "spread"],
    timeout_seconds: float,
) -> PlacementGroup:
    group = placement_group([resources] * replicas, strategy=placement.upper())
    # An infeasible group would stay pending for ever. Ray waits for whole seconds.
    if group.wait(math.ceil(timeout_seconds)):
        return group
    remove_placement_group(group)
    free, total = ray.available_resources(), ray.cluster_resources()
    facts = [
        f"{name}: {_number(each * replicas)} asked, {_number(free.get(name, 0))} free of "
        f"{_number(total.get(name, 0))} in the cluster"
        for name, each in resources.items()
    ]
    missing = [n for n, each in resources.items() if each * replicas > free.get(n, 0)]
    why = f"missing is {', '.join(missing)}" if missing else "no node has room for one replica"
    wish = ", ".join(f"{name}: {_number(each)}" for name, each in resources.items())
    raise UserError(
        "ray.teacher_resources",
        f"{replicas} teacher replicas with {{{wish}}} each found no place in "
        f"{_number(timeout_seconds)} s; {why} ({'; '.join(facts)}).",
        "Lower teacher.replicas or ray.teacher_resources, add nodes, or end what else runs there.",
    )


def _start_replica(
    group: PlacementGroup, spec: ReplicaSpec, index: int, resources: dict[str, float]
) -> Any:
    custom = {k: v for k, v in resources.items() if k not in ("CPU", "GPU", "memory")}
    options = ray.remote(TeacherReplica).options(
        num_cpus=resources.get("CPU", 0),
        num_gpus=resources.get("GPU", 0),
        memory=resources.get("memory"),
        resources=custom,
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=index
        ),
        max_restarts=-1,
        max_task_retries=0,  # the router decides where a request goes next
    )
    return options.remote(spec, index)


def _wait_until_loaded(handles: tuple[Any, ...], timeout_seconds: float) -> list[Pong]:
    try:
        pongs: list[Pong] = ray.get(
            [handle.ping.remote() for handle in handles], timeout=timeout_seconds
        )
    except RayTaskError as error:
        if is_mendable(error.cause):
            raise error.cause from None
        raise
    except GetTimeoutError:
        raise UserError(
            "teacher.replicas",
            f"{len(handles)} replicas did not load the model within {_number(timeout_seconds)} s.",
            "Fetch the weights on every node first, or start fewer replicas.",
        ) from None
    except RayActorError as error:
        if error.actor_init_failed:
            raise
        raise UserError(
            "teacher.replicas",
            f"a replica was killed while it loaded the model: {' '.join(str(error).split())}",
            "Most often memory is short: start fewer replicas, or give them larger nodes.",
        ) from error
    return pongs


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.2f}"
