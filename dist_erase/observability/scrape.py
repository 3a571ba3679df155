"""The metrics of a run as they stand, read from its address or from its folder, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from dist_erase.observability.exporter import snapshots_of
from dist_erase.observability.merge import identity, merge
from dist_erase.observability.metrics import PREFIX
from dist_erase.observability.snapshot import END


class Scrape:
    """Values of one moment, of one run."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for sample in samples:
            if sample.name.startswith(PREFIX):
                self._samples.setdefault(sample.name.removeprefix(PREFIX), []).append(sample)

    @property
    def samples(self) -> Iterator[Sample]:
        """All of them, as they were given."""
        return (sample for samples in self._samples.values() for sample in samples)

    @property
    def runs(self) -> list[str]:
        """Names of the runs, sorted; one as a rule, none where these are not our metrics."""
        return sorted({sample.labels.get("run", "") for sample in self.samples})

    def series(self, name: str, **labels: str) -> list[Sample]:
        """The series of a metric (named without prefix) that have these labels."""
        return [
            sample
            for sample in self._samples.get(name, [])
            if all(sample.labels.get(key) == value for key, value in labels.items())
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The first of these series; None without one."""
        found = self.series(name, **labels)
        return found[0].value if found else None

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of these series; None without one."""
        found = self.series(name, **labels)
        return sum(sample.value for sample in found) if found else None

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Value of each of these series by one of its labels."""
        return {s.labels[label]: s.value for s in self.series(name, **labels) if label in s.labels}


def parse(text: str) -> Scrape:
    """What a metrics address answered; ValueError where it is no Prometheus text."""
    return Scrape(_samples(text))


def read_folder(folder: Path) -> Scrape:
    """What the processes of a run have left in its metrics folder; broken files are left out."""
    families = []
    for path in snapshots_of(folder):
        try:
            text = path.read_text(encoding="utf-8")
            if not text.endswith(END):
                continue
            families.append(list(text_string_to_metric_families(_without_buckets(text))))
        except (OSError, ValueError, IndexError):
            continue
    return Scrape(s for family in merge(families) for s in family.samples)


def merged(scrapes: Iterable[Scrape]) -> Scrape:
    """Several nodes' values of one run; what two of them tell counts once."""
    found: dict[tuple[object, ...], Sample] = {}
    for scrape in scrapes:
        for sample in scrape.samples:
            found.setdefault(identity(sample), sample)
    return Scrape(found.values())


def _samples(text: str) -> Iterator[Sample]:
    try:
        for family in text_string_to_metric_families(_without_buckets(text)):
            yield from family.samples
    except IndexError as error:  # the client's parser on a line that is nothing it knows
        raise ValueError("no Prometheus text") from error


def _without_buckets(text: str) -> str:
    """Histograms' buckets are most of the text, and nothing here needs them."""
    return "\n".join(line for line in text.splitlines() if "_bucket{" not in line) + "\n"
