"""Values brought to a Pushgateway, for runs that no Prometheus can reach."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPException

from prometheus_client import CollectorRegistry, delete_from_gateway, push_to_gateway
from prometheus_client.exposition import default_handler
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dist_erase.observability.passwords import password

JOB = "dist-erase"
_log = logging.getLogger(__name__)


class Pusher:
    """Replaces a group's values every few seconds, until `close` deletes the group.

    A Pushgateway never forgets by itself: what is left there would look like a run that stands
    still. Failures cost the values, never the run.

    Args:
        gateway: its URL.
        group: labels that name the group, beside the job; every series has them.
        values: gives all current families.
        failed: told of each failure.
    """

    def __init__(
        self,
        gateway: str,
        group: dict[str, str],
        values: Callable[[], list[Metric]],
        failed: Callable[[], None],
        *,
        every_seconds: float = 10.0,
    ) -> None:
        self._gateway = gateway
        self._group = group
        self._registry = CollectorRegistry()
        self._registry.register(_Current(values))
        self._told = failed
        self._every_seconds = every_seconds
        self._warned = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-push", daemon=True)
        self._thread.start()

    def last(self) -> None:
        """Pushes once more and no more."""
        self._stop.set()
        self._thread.join()
        self._push()

    def delete(self) -> None:
        """Deletes the group."""
        self._try(
            lambda: delete_from_gateway(
                self._gateway,
                job=JOB,
                grouping_key=self._group,
                timeout=5,
                handler=_with_password,
            )
        )

    def _run(self) -> None:
        while True:
            self._push()
            if self._stop.wait(self._every_seconds):
                return

    def _push(self) -> None:
        self._try(
            lambda: push_to_gateway(
                self._gateway,
                job=JOB,
                registry=self._registry,
                grouping_key=self._group,
                timeout=5,
                handler=_with_password,
            )
        )

    def _try(self, ask: Callable[[], None]) -> None:
        try:
            ask()
            self._warned = False
        except (OSError, ValueError, HTTPException) as error:
            self._told()
            if not self._warned:
                _log.warning("observe.pushgateway: %s: %s", self._gateway, _in_words(error))
            self._warned = True


def _in_words(error: Exception) -> str:
    if isinstance(error, HTTPException) and not isinstance(error, OSError):
        return "what answers does not speak HTTP"  # the error's own text is whatever was sent
    return str(error)


def _with_password(
    url: str,
    method: str,
    timeout: float | None,
    headers: list[tuple[str, str]],
    data: bytes,
) -> Callable[[], None]:
    """As prometheus_client asks, with the password that ~/.netrc has for the host."""
    return default_handler(url, method, timeout, [*headers, *password(url).items()], data)


class _Current(Collector):
    def __init__(self, values: Callable[[], list[Metric]]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        yield from self._values()

    def describe(self) -> list[Metric]:
        return []
