"""The Ray cluster: joined or started, and asked for what a run needs before anything starts."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Iterator
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


@contextmanager
def cluster(config: RayConfig) -> Iterator[None]:
    """Inside, Ray is connected; an embedded cluster ends with the block.

    Raises:
        UserError: there is no cluster at that address.
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


def bundles(config: RunConfig) -> list[tuple[str, Bundle]]:
    """What is placed as a unit each, in the order of placing."""
    return [
        *[("teacher replica", config.ray.teacher_resources)] * _replicas(config),
        *[("worker", config.ray.resources_per_worker)] * config.ray.workers,
    ]


def check_room(config: RunConfig) -> None:
    """Raises UserError, saying what is missing, if the cluster can never hold the run.

    Ray itself would wait and retry for ever. Where an autoscaler may bring nodes, only
    `wait_for_room` can tell.
    """
    if config.ray.autoscale_seconds:
        return
    nodes = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    homeless = [kind for kind, bundle in bundles(config) if not _place(bundle, nodes)]
    if not homeless:
        return
    asked, present = _sums(config), ray.cluster_resources()
    lacks = ", ".join(
        f"{name}: {amount:g} asked, {present.get(name, 0):g} in the cluster"
        for name, amount in asked.items()
    )
    raise UserError(
        "ray.workers, teacher.replicas",
        f"{len(homeless)} of {config.ray.workers} workers and {_replicas(config)} teacher "
        f"replicas find no room, first a {homeless[0]} ({lacks}; {len(nodes)} nodes).",
        "Lower ray.workers, teacher.replicas, ray.resources_per_worker or ray.teacher_resources, "
        "or add nodes.",
    )


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
    if _placed([bundle for _, bundle in bundles(config)], seconds, check):
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


def _place(bundle: Bundle, nodes: list[Bundle]) -> bool:
    for node in nodes:
        if all(node.get(name, 0.0) + 1e-9 >= amount for name, amount in bundle.items()):
            for name, amount in bundle.items():
                node[name] = node.get(name, 0.0) - amount
            return True
    return False


def _sums(config: RunConfig) -> Bundle:
    total: Bundle = {}
    for _, bundle in bundles(config):
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return total
