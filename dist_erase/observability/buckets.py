"""A histogram that takes many observations at once, which the client library's does not."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric


class Buckets:
    """One series: counts of observations up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0.0] * (len(bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Adds one observation."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._total += value

    def add(self, counts: Sequence[float], total: float) -> None:
        """Adds many: counts for each bound and above the last one, and their sum."""
        with self._lock:
            self._counts = [a + b for a, b in zip(self._counts, counts, strict=True)]
            self._total += total

    def read(self) -> tuple[list[float], float]:
        """Counts and sum of one moment."""
        with self._lock:
            return list(self._counts), self._total


class BucketFamily:
    """All series of one histogram, as a collector of `registry`."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
        buckets: Sequence[float],
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = buckets
        self._series: dict[tuple[str, ...], Buckets] = {}
        registry.register(self)

    def labels(self, *values: str) -> Buckets:
        """The series of these label values."""
        return self._series.setdefault(values, Buckets(self._bounds))

    def describe(self) -> list[Metric]:
        """The name, for the registry."""
        return [Metric(self._name, self._documentation, "histogram")]

    def collect(self) -> Iterator[Metric]:
        """The family; without a sum where observations may be negative, for it would not grow."""
        family = Metric(self._name, self._documentation, "histogram")
        for values, series in list(self._series.items()):
            labels = dict(zip(self._labels, values, strict=True))
            counts, total = series.read()
            so_far = 0.0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                so_far += count
                at = labels | {"le": "+Inf" if math.isinf(bound) else str(float(bound))}
                family.add_sample(f"{self._name}_bucket", at, so_far)
            family.add_sample(f"{self._name}_count", labels, so_far)
            if self._bounds[0] >= 0:
                family.add_sample(f"{self._name}_sum", labels, total)
        yield family
