"""One scrape address on each node of a Ray cluster, beside the driver's on its own."""

from __future__ import annotations

import platform
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dist_erase.errors import UserError
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.snapshot import on_this_node

_LOOK_SECONDS = 5.0
_MARGIN_SECONDS = 5.0
_START_SECONDS = 60.0


class NodeExporter:
    """Serves what the run's processes on this node leave in `folder`: a Ray actor, pinned there.

    Restarted, it serves the same files again.
    """

    def __init__(self, folder: Path, exposure: Exposure) -> None:
        self._folder = on_this_node(folder)
        self._exporter = RunExporter(folder, exposure, node=platform.node())

    def address(self) -> str:
        """HOST:PORT."""
        return self._exporter.address

    def close(self) -> None:
        """Serves until one more scrape or for the time of grace, and removes the files."""
        self._exporter.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class NodeExporters:
    """Starts an exporter on every machine but the driver's, and on those that join later.

    Ray nodes that share a machine (its host name) share an exporter, since they share the files.
    Inside the block it watches; leaving it asks the exporters to end, and `wait` waits for that,
    so that the time of grace passes on all nodes at once.

    Args:
        folder: where processes write, with `snapshot.NODE` as its last component.
        exposure: as the driver's.
    """

    def __init__(self, folder: Path, exposure: Exposure) -> None:
        self._folder = folder
        self._exposure = exposure
        self._actors: dict[str, Any] = {}
        self._ending: list[Any] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="node-exporters", daemon=True)

    def __enter__(self) -> NodeExporters:
        self._look()
        self.addresses()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._ending = [actor.close.remote() for actor in self._actors.values()]

    def addresses(self) -> dict[str, str]:
        """Host name → HOST:PORT, waiting for those that are starting.

        Raises:
            UserError: one cannot be had.
        """
        asked = {host: actor.address.remote() for host, actor in self._actors.items()}
        found = {}
        for host, answer in asked.items():
            try:
                found[host] = ray.get(answer, timeout=_START_SECONDS)
            except (RayError, GetTimeoutError) as error:
                raise UserError(
                    "observe.per_node",
                    f"no metrics address on {host} ({str(error).strip().splitlines()[-1]}).",
                    "Mend that, or set observe.per_node to false: one address shows all nodes.",
                ) from error
        return found

    def wait(self) -> None:
        """Until every exporter has ended; a node that is gone has."""
        if self._ending:
            ray.wait(
                self._ending,
                num_returns=len(self._ending),
                timeout=self._exposure.grace_seconds + _MARGIN_SECONDS,
            )
        for actor in self._actors.values():
            ray.kill(actor)

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self._look()
            except RayError:
                continue  # the cluster does not answer for a moment

    def _look(self) -> None:
        hosts = {
            node["NodeManagerHostname"]: node["NodeID"] for node in ray.nodes() if node["Alive"]
        }
        hosts.pop(platform.node(), None)
        for host in hosts.keys() - self._actors.keys():
            self._actors[host] = self._start(hosts[host])
        for host in self._actors.keys() - hosts.keys():
            del self._actors[host]
            self._exposure.file_sd(host).unlink(missing_ok=True)

    def _start(self, node_id: str) -> Any:
        options = ray.remote(NodeExporter).options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            max_restarts=-1,
        )
        return options.remote(self._folder, self._exposure)
