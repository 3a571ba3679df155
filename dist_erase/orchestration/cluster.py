"""The Ray cluster: joined or started, and asked for what a run needs before anything starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from dist_erase.config.run import RayConfig, RunConfig
from dist_erase.errors import UserError

Bundle = dict[str, float]


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
        ray.init(address=config.address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise UserError(
            "ray.address",
            f"no Ray cluster answers at {config.address} ({' '.join(str(error).split())[:200]}).",
            "Start one with `ray start --head`, give its HOST:PORT, or set ray.address=local for "
            "an embedded one.",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def bundles(config: RunConfig) -> list[tuple[str, Bundle]]:
    """What is placed as a unit each: workers first, then teacher replicas."""
    asked = [("worker", config.ray.resources_per_worker)] * config.ray.workers
    if config.teacher.kind == "pool":
        asked += [("teacher replica", config.ray.teacher_resources)] * config.teacher.replicas
    return asked


def check_room(config: RunConfig) -> None:
    """Raises UserError, saying what is missing, if the cluster can never hold the run.

    Ray itself would wait and retry for ever.
    """
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
        f"{len(homeless)} of {config.ray.workers} workers and {config.teacher.replicas} teacher "
        f"replicas find no room, first a {homeless[0]} ({lacks}; {len(nodes)} nodes).",
        "Lower ray.workers, teacher.replicas, ray.resources_per_worker or ray.teacher_resources, "
        "or add nodes.",
    )


def resources_in_words(config: RunConfig) -> tuple[str, str]:
    """What is asked, and what is at hand, for people."""
    asked, present = _sums(config), ray.cluster_resources()
    return (
        ", ".join(f"{name} {amount:g}" for name, amount in asked.items()),
        ", ".join(f"{name} {present.get(name, 0):g}" for name in asked),
    )


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
