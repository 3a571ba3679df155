"""The Ray cluster: joined or started, and asked for what a run needs before anything starts."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ray
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import AuthenticationError
from ray.util.placement_group import placement_group, remove_placement_group

from dist_erase.config.run import RayConfig, RunConfig
from dist_erase.errors import UserError

Bundle = dict[str, float]
_ANSWER_SECONDS = 10.0
_ROOM_SECONDS = 25.0
_ELSEWHERE_SECONDS = 60.0  # for nodes that are there already, or come by themselves
_LOOK_SECONDS = 1.0
_PARTS = 10_000  # of one unit of a resource: as fine as Ray itself counts


@contextmanager
def cluster(config: RayConfig) -> Iterator[None]:
    """Inside, Ray is connected; an embedded cluster ends with the block.

    Raises:
        UserError: there is no cluster at that address, or one of another Ray or Python.
    """
    if ray.is_initialized():  # the caller's own cluster, as in a test session
        yield
        return
    try:
        _knock(config.address)
        ray.init(address=config.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, AuthenticationError) as error:
        raise UserError(
            "ray.address",
            f"no Ray cluster answers at {config.address} ({' '.join(str(error).split())[:200]}).",
            "Start one with `ray start --head`, give its HOST:PORT, or set ray.address=local for "
            "an embedded one. For one that asks for a token, set RAY_AUTH_MODE=token here too.",
        ) from None
    except RuntimeError as error:
        if not str(error).startswith("Version mismatch"):
            raise
        raise UserError(
            "ray.address",
            f"the cluster at {config.address} runs other versions "
            f"({' '.join(str(error).split())[:300]}).",
            "Install here the Ray and the Python that it runs.",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises ConnectionError if nobody listens there: Ray would try for 14 minutes.

    That goes for `auto` too: RAY_ADDRESS, or what Ray noted of a cluster that may be long gone.
    """
    if "://" in address:  # a Ray client server, which ray.init itself knocks at
        return
    host, colon, port = (canonicalize_bootstrap_address(address) or "").rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(f"{host}:{port}: {error}") from error


def bundles(config: RunConfig) -> list[Bundle]:
    """What is placed as a unit each."""
    return [
        *[config.ray.teacher_resources] * _replicas(config),
        *[config.ray.resources_per_worker] * config.ray.workers,
    ]


def check_room(config: RunConfig) -> None:
    """Raises UserError, saying what is missing, if the cluster can never hold the run.

    Ray itself would wait and retry for ever. Where an autoscaler may bring nodes, only
    `wait_for_room` can tell.
    """
    if config.ray.autoscale_seconds:
        return
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    teachers, workers = homeless(config, nodes)
    if not teachers + workers:
        _check_room_to_measure(config, nodes)
        return
    asked, present = _sums(config), ray.cluster_resources()
    lacks = ", ".join(
        f"{name}: {amount:g} asked, {present.get(name, 0):g} in the cluster"
        for name, amount in asked.items()
    )
    raise UserError(
        "ray.workers, teacher.replicas",
        f"{teachers + workers} of {config.ray.workers} workers and {_replicas(config)} teacher "
        f"replicas find no room, first a {'teacher replica' if teachers else 'worker'} ({lacks}; "
        f"{len(nodes)} nodes).",
        "Lower ray.workers, teacher.replicas, ray.resources_per_worker or ray.teacher_resources, "
        "or add nodes.",
    )


def _check_room_to_measure(config: RunConfig, nodes: Sequence[Bundle]) -> None:
    """Measuring asks for what a replica does; without a pool nothing else shows that it fits."""
    asked = config.ray.teacher_resources
    if any(_how_often(_parts(asked), node, 1) for node in map(_parts, nodes)):
        return
    lacks = ", ".join(
        f"{name}: {amount:g} asked, at most {max(node.get(name, 0) for node in nodes):g} on a node"
        for name, amount in asked.items()
    )
    raise UserError(
        "ray.teacher_resources",
        f"no node has room to measure the models, before and after training ({lacks}).",
        "Lower ray.teacher_resources, or add a node.",
    )


def homeless(config: RunConfig, nodes: Sequence[Bundle]) -> tuple[int, int]:
    """How many teacher replicas and workers find no room even if all are placed as well as can be.

    There are only two kinds of them, so that needs no trying of orders: for each number of teachers
    the most workers beside them are counted, on each node, and then on all nodes together.

    Args:
        config: says what is placed.
        nodes: what each has in all.
    """
    replicas, workers = _replicas(config), config.ray.workers
    teacher, worker = _parts(config.ray.teacher_resources), _parts(config.ray.resources_per_worker)
    most = [0]  # workers beside 0, 1, ... teachers, as many of these as find room
    for node in map(_parts, nodes):
        here = []
        for held in range(_how_often(teacher, node, replicas) + 1):
            left = {name: amount - held * teacher.get(name, 0) for name, amount in node.items()}
            here.append(_how_often(worker, left, workers))
        most = [
            max(
                most[n - held] + here[held]
                for held in range(len(here))
                if 0 <= n - held < len(most)
            )
            for n in range(min(len(most) + len(here) - 1, replicas + 1))
        ]
    placed = [(held + min(beside, workers), held) for held, beside in enumerate(most)]
    both, teachers = max(placed)
    return replicas - teachers, workers - (both - teachers)


def _parts(bundle: Bundle) -> dict[str, int]:
    return {name: math.floor(amount * _PARTS + 1e-6) for name, amount in bundle.items()}


def _how_often(bundle: dict[str, int], node: dict[str, int], limit: int) -> int:
    """How often a bundle fits on a node, up to `limit`."""
    return min([limit, *(node.get(name, 0) // amount for name, amount in bundle.items() if amount)])


def _nothing() -> None:
    pass


def wait_for_room(
    config: RunConfig,
    *,
    seconds: float = _ROOM_SECONDS,
    check: Callable[[], None] = _nothing,
) -> None:
    """Raises UserError if what the run needs is not free within `seconds`.

    Others may hold it, or an autoscaler may have to bring it; that may take
    `ray.autoscale_seconds`. Places everything for a moment; Ray itself would wait for ever.
    `check` is called each second and may raise.
    """
    seconds = max(seconds, config.ray.autoscale_seconds)
    if _placed(bundles(config), seconds, check):
        # A pool's replicas have shown it: measuring asks for what one of them does.
        if not _replicas(config) and not _placed([config.ray.teacher_resources], seconds, check):
            raise UserError(
                "ray.teacher_resources",
                f"no node had room to measure the models within {seconds:g} s.",
                "End what else runs on the cluster, lower ray.teacher_resources, or add nodes.",
            )
        return
    free, present = ray.available_resources(), ray.cluster_resources()
    lacks = ", ".join(
        f"{name}: {amount:g} asked, {free.get(name, 0):g} free of {present.get(name, 0):g}"
        for name, amount in _sums(config).items()
    )
    raise UserError(
        "ray.workers, teacher.replicas",
        f"{config.ray.workers} workers and {_replicas(config)} teacher replicas found no free "
        f"place in {seconds:g} s ({lacks}).",
        "End what else runs on the cluster, ask for less, or add nodes.",
    )


def workers_find_room(
    config: RunConfig,
    *,
    seconds: float = _ELSEWHERE_SECONDS,
    check: Callable[[], None] = _nothing,
) -> bool:
    """Whether all workers could be placed within `seconds`; nodes being drained take nobody.

    An autoscaler that has to bring a node may take `ray.autoscale_seconds`. `check` is called each
    second and may raise.
    """
    seconds = max(seconds, config.ray.autoscale_seconds)
    return _placed([config.ray.resources_per_worker] * config.ray.workers, seconds, check)


def _placed(wanted: list[Bundle], seconds: float, check: Callable[[], None]) -> bool:
    group = placement_group(wanted)
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            if group.wait(math.ceil(min(left, _LOOK_SECONDS))):
                return True
            check()
    finally:
        remove_placement_group(group)
    return False


def resources_in_words(config: RunConfig) -> tuple[str, str]:
    """What is asked, and what is at hand, for people."""
    asked, present = _sums(config), ray.cluster_resources()
    return (
        ", ".join(f"{name} {amount:g}" for name, amount in asked.items()),
        ", ".join(f"{name} {present.get(name, 0):g}" for name in asked),
    )


def _replicas(config: RunConfig) -> int:
    return config.teacher.replicas if config.teacher.kind == "pool" else 0


def _sums(config: RunConfig) -> Bundle:
    total: Bundle = {}
    for bundle in bundles(config):
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return total
