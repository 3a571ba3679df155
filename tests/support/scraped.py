"""The metrics of a run with two ranks and a teacher pool, as its processes write them."""

from __future__ import annotations

import time
from pathlib import Path

from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import snapshots_of
from dist_erase.observability.facts import Facts, facts_of
from dist_erase.observability.merge import merge
from dist_erase.observability.scrape import Scrape, parse, read_folder
from dist_erase.observability.snapshot import from_text, to_text

RUN = "seven"
_FACTS = (
    "version",
    "config_hash",
    "ray_job_id",
    "python",
    "torch",
    "deepspeed",
    "ray",
    "open_clip",
)


class RunMetrics:
    """Writes snapshots of a run into `folder`, as the run's own processes would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.driver = Metrics(run=RUN, role="driver", rank=0, node="a")
        self.driver.run_info.set(**dict.fromkeys(_FACTS, "1"), world_size="2")
        self._restart(attempt=1, pid=100)

    def restart(self, attempt: int) -> None:
        """The workers are started again, as other processes."""
        self._restart(attempt, pid=100 * attempt)

    def step(
        self, step: int, *, seconds: float = 1.0, data_wait: float = 0.1, steps: int = 40
    ) -> None:
        """Both ranks finish a step."""
        for metrics in self.students:
            metrics.step.set(step)
            metrics.step_seconds.observe(seconds)
            metrics.phase_seconds_total.inc(data_wait, "data_wait")
            metrics.phase_seconds_total.inc(seconds - data_wait, "forward")
            metrics.samples_total.inc(32, "forget")
            metrics.samples_total.inc(32, "retain")
            metrics.teacher_requests_in_flight.set(2)
        first = self.students[0]
        first.steps_planned.set(steps)
        first.loss.set(0.2, "total")
        first.loss.set(0.1, "forgetting")
        first.matched_similarity.set(0.5, "forget")
        first.matched_similarity.set(0.7, "retain")
        first.similarity_floor.set(0.1)
        self.write()

    def checkpoint(self, step: int, *, seconds: float) -> None:
        """Both ranks write a checkpoint."""
        for metrics in self.students:
            metrics.phase_seconds_total.inc(seconds, "checkpoint")
        self.students[0].checkpoint_last_step.set(step)
        self.write()

    def replicas(self, *up: bool) -> None:
        """The driver says which teacher replicas answer."""
        for index, one in enumerate(up):
            self.driver.teacher_replica_up.set(float(one), str(index))
        self.write()

    def evaluation(self, phase: str, *, forget: float, retain: float) -> None:
        """Figures of an evaluation: before and after by the driver, live by rank 0."""
        who = self.students[0] if phase == "live" else self.driver
        recalls = {"image_to_text": {"r1": 0.4}, "text_to_image": {"r1": 0.5}}
        who.evaluation(
            phase,
            {
                "zero_shot": {"forget": {"top1": forget}, "retain": {"top1": retain}},
                "retrieval": {"forget": recalls, "retain": recalls},
            },
        )
        self.write()

    def end(self, exit_code: int) -> None:
        """The driver knows how it ended."""
        self.driver.run_exit_code.set(exit_code)
        self.write()

    def write(self) -> None:
        """Every process leaves its values."""
        self._put(self.driver, 1)
        for metrics in self.students:
            self._put(metrics, self._pid + metrics.rank)

    def text(self) -> str:
        """What the run's exporter would answer."""
        return to_text(merge([from_text(p.read_text()) for p in snapshots_of(self.folder)]))

    def scrape(self) -> Scrape:
        """The same, parsed."""
        return parse(self.text())

    def facts(self) -> Facts:
        """What the folder says."""
        return facts_of(read_folder(self.folder))

    def _restart(self, attempt: int, pid: int) -> None:
        self._pid = pid
        self.students = [Metrics(run=RUN, role="student", rank=r, node="a") for r in (0, 1)]
        for metrics in self.students:
            metrics.worker_attempt.set(attempt)
            metrics.data_workers.set(2)
            metrics.data_workers_limit.set(16)
            metrics.node_idle_cores.set(5.0)
        self.write()

    def _put(self, metrics: Metrics, pid: int) -> None:
        metrics.heartbeat_timestamp_seconds.set(time.time())
        path = self.folder / f"{metrics.role}-{metrics.rank}-{pid}.prom"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(to_text(metrics.registry.collect()))
        temporary.rename(path)
