"""The Ray cluster: who may enter, what it has, and every node's own view: a process of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import AuthenticationError, GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.cluster import check_room, resources_in_words
from dist_erase.orchestration.doctor.disk import nearest
from dist_erase.orchestration.doctor.needs import GB, Config, image_bytes, in_words, run_dir
from dist_erase.orchestration.doctor.node import NodeFacts, look_here, machine_id
from dist_erase.orchestration.doctor.probes import read_asked, tell
from dist_erase.orchestration.doctor.ray_address import host_and_port, token_here
from dist_erase.orchestration.doctor.row import Check, Row, fail, ok, rows_of, warn
from dist_erase.orchestration.doctor.versions import installed

_OPEN_SECONDS = 25.0
_NODE_SECONDS = 30.0
_CLOCKS_APART, _CLOCKS_FAR_APART = 1.0, 30.0
_TOKENS = "https://docs.ray.io/en/latest/ray-security/token-auth.html"
_BRING = (
    "Bring the cluster's token to this machine (~/.ray/auth_token, readable by you only, or "
    "RAY_AUTH_TOKEN_PATH) and set RAY_AUTH_MODE=token."
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Of one node.

    Attributes:
        sent, received: by this machine's clock.
    """

    facts: NodeFacts
    sent: float
    received: float


def main() -> None:
    """Reads what is asked from stdin and writes rows."""
    config, asked = read_asked()
    address: str = asked["address"]
    closed = _is_closed(address)
    for row in rows_of([Check(name="Ray token", look=lambda: check_token(closed))]):
        tell(row)
    if closed and token_here() is None:
        return  # Ray would only say so again, after a while
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, AuthenticationError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        mend = f"{_BRING} The versions of Python and Ray must be the cluster's."
        tell(fail("Ray cluster", f"{address} does not let us in ({said})", mend))
        return
    nodes = [node for node in ray.nodes() if node["Alive"]]
    for row in cluster_rows(config, nodes):
        tell(row)
    with _marker(config) as marker:
        for row in node_rows(config, nodes, marker):
            tell(row)
    os._exit(0)  # shutting down waits for tasks that hang


def check_token(closed: bool | None) -> Iterator[Row]:
    """Whether the cluster asks for a token, and this machine has one."""
    here = token_here()
    if closed is None:
        found = "it cannot be told whether the cluster asks for a token"
        yield warn("Ray token", found, f"Look at how it was started: {_TOKENS}")
    elif closed and here is None:
        yield fail("Ray token", "the cluster asks for a token, and none is sent from here", _BRING)
    elif closed:
        yield ok("Ray token", f"the cluster asks for a token; this machine's is in {here}")
    else:
        yield warn(
            "Ray token",
            "the cluster is open: everyone who reaches its ports can run programs as its user",
            "Start all its nodes with RAY_AUTH_MODE=token and one token (`ray get-auth-token "
            "--generate`), or keep the network closed.",
        )


def cluster_rows(config: Config | None, nodes: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Room for the run, and the object stores."""
    if isinstance(config, RunConfig):
        asked, present = resources_in_words(config)
        try:
            check_room(config)
        except UserError as error:
            yield fail("Ray resources", error.problem, error.mend)
        else:
            yield ok("Ray resources", f"asked {asked}; at hand {present}; {len(nodes)} nodes")
    # Batches of images on their way to teachers, and answers.
    in_flight = (config.teacher.prefetch + 1) if isinstance(config, RunConfig) else 0
    needed = in_flight * (image_bytes(config) if config is not None else 0)
    for node in nodes:
        size = node["Resources"].get("object_store_memory", 0.0)
        host = node["NodeManagerHostname"]
        found = f"{in_words(size)} of object store; the run needs about {in_words(needed)}"
        mend = "Start the node with a larger --object-store-memory, and enough /dev/shm."
        if size < needed:
            yield replace(warn("object store", f"{found}: it would spill to disk", mend), node=host)
        elif size < GB / 10:
            yield replace(warn("object store", found, mend), node=host)
        else:
            yield replace(ok("object store", found), node=host)


def node_rows(config: Config | None, nodes: Sequence[dict[str, Any]], marker: str) -> Iterator[Row]:
    """What each node says: all are asked at once."""
    asked = ray.remote(look_here)
    own = machine_id()
    sent: dict[Any, tuple[str, float]] = {}
    for node in nodes:
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = asked.options(num_cpus=0, scheduling_strategy=pinned, max_retries=0)
        sent[options.remote(config, marker, own)] = (node["NodeManagerHostname"], time.time())
    deadline = time.monotonic() + _NODE_SECONDS
    waiting = list(sent)
    while waiting:
        done, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            break
        received = time.time()
        host, when = sent[done[0]]
        try:
            facts: NodeFacts = ray.get(done[0], timeout=1)
        except (RayError, GetTimeoutError) as error:
            last = (str(error).strip().splitlines() or [""])[-1][:300]
            mend = "Install the same dist-erase there, or bring it with the job's runtime_env."
            yield replace(fail("node", f"cannot run our checks: {last}", mend), node=host)
            continue
        answer = Answer(facts=facts, sent=when, received=received)
        for row in answer_rows(config, answer, own, alone=len(nodes) == 1):
            yield replace(row, node=host)
    for reference in waiting:
        ray.cancel(reference, force=True)
        found = f"no answer within {_NODE_SECONDS:g} s"
        mend = "Look at the load, the disks and mounts of that node."
        yield replace(fail("node", found, mend), node=sent[reference][0])


def answer_rows(
    config: Config | None, answer: Answer, own_boot: str, *, alone: bool
) -> Iterator[Row]:
    """Clock, versions and shared folder against this machine's, then the node's own rows."""
    facts = answer.facts
    yield clock_row(facts.now, answer.sent, answer.received)
    ours = installed()
    differing = [f"{k} {facts.versions.get(k)} (here {v})" for k, v in ours.items()
                 if facts.versions.get(k) != v]  # fmt: skip
    if differing:
        mend = "Install the same versions on every node (constraints.txt)."
        yield fail("versions of node", ", ".join(differing), mend)
    if not alone and (facts.listens or "127.").startswith("127."):
        mend = "Give its name its real address (/etc/hosts), or set GLOO_SOCKET_IFNAME."
        stands = facts.listens or "no address"
        found = f"its name stands for {stands}: ranks there could not be reached by other nodes"
        yield warn("host name", found, mend)
    mend = "Set run.dir to a folder that all nodes share under one path."
    if facts.sees is False:
        found = f"{run_dir(config)} is another folder there: a file written here is not seen"
        yield fail("shared run.dir", found, mend)
    elif facts.boot == own_boot or config is None:
        pass
    elif facts.sees is None:
        yield warn("shared run.dir", "not tested: no file can be written here", mend)
    else:
        yield ok("shared run.dir", "a file written here is seen there")
    yield from facts.rows


def clock_row(there: float, sent: float, received: float) -> Row:
    """How far a node's clock is from ours: at least, whatever part of the way took how long."""
    ahead, behind = there - received, sent - there
    apart = max(ahead, behind, 0.0)
    found = f"{apart:.1f} s {'ahead of' if ahead > behind else 'behind'} this machine's, at least"
    mend = "Synchronise the clocks of all nodes (chrony, NTP)."
    if apart > _CLOCKS_FAR_APART:
        return fail("clock", found, mend)
    if apart > _CLOCKS_APART:
        return warn("clock", found, mend)
    return ok("clock", "agrees with this machine's, as far as an answer's way tells")


def _is_closed(address: str) -> bool | None:
    """Whether somebody without a token is turned away; None if that cannot be found out."""
    if "://" in address:
        return None
    host, port = host_and_port(address)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dist_erase.orchestration.doctor.probe_open"],
            input=json.dumps({"address": f"{host}:{port}"}),
            env=environment | {"RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=_OPEN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    return {"open": False, "closed": True}.get(done.stdout)


@contextmanager
def _marker(config: Config | None) -> Iterator[str]:
    """Inside, a file lies where run folders go (or will go), for nodes to look for.

    Gives its path; "" where none can be written.
    """
    if config is None:
        yield ""
        return
    path = nearest(run_dir(config)) / f".doctor-{uuid.uuid4().hex}"
    try:
        path.write_text("doctor\n", encoding="utf-8")
    except OSError:
        yield ""
        return
    try:
        yield str(path)
    finally:
        with suppress(OSError):
            path.unlink()


if __name__ == "__main__":
    main()
