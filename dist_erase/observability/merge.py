"""The metrics of several processes as one: each family once, of equal series the newest."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample


def merge(snapshots: Iterable[Iterable[Metric]]) -> list[Metric]:
    """One family per name; of equal series the first snapshot's wins.

    Series are equal if they differ in `node` only: a rank restarted on another machine replaces
    itself. An info series is replaced as a whole, whatever facts it states.
    """
    families: dict[str, Metric] = {}
    seen: set[tuple[object, ...]] = set()
    for snapshot in snapshots:
        for family in snapshot:
            merged = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            fresh = [s for s in family.samples if identity(s) not in seen]
            if merged.type == family.type:
                merged.samples += fresh
                seen.update(map(identity, fresh))
    return [families[name] for name in sorted(families)]


def labelled(families: Iterable[Metric], name: str, value: str) -> list[Metric]:
    """The families with one more label on every series."""
    found = list(families)
    for family in found:
        family.samples = [s._replace(labels={**s.labels, name: value}) for s in family.samples]
    return found


def identity(sample: Sample) -> tuple[object, ...]:
    """What makes two samples the same series."""
    if sample.name.endswith("_info"):
        return (sample.name, *(sample.labels.get(name) for name in ("run", "role", "rank")))
    return (sample.name, frozenset(i for i in sample.labels.items() if i[0] != "node"))
