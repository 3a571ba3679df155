"""What watching costs a step: the same training step with its metrics told and scraped, and bare.

    python benchmarks/metrics.py              # 12 blocks of 16 steps each way
    python benchmarks/metrics.py --short      # 2 blocks of 6

The steps are the quickstart's (its model, 32 + 96 pairs, fp32, ZeRO 2) on random pairs in one
process. Blocks with and without metrics alternate, so that a machine that slows down slows both.
With metrics the process writes its snapshot every second, the run's exporter lives in it too (as
on a node of its own it would not), and a client scrapes every second, five times as often as our
Prometheus does. `levels` are the figures computed on embeddings only to be watched, in both kinds
of block. The last line is JSON: shares of a step's time, and the ratio of the medians. Exit code 1
where telling and levels take more than 1 % of a step (not in the short mode, which is too noisy).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch.nn import functional as F

from dist_erase.batch import DataWork, Embeddings, PairBatch, Samples, TeacherAnswer
from dist_erase.distributed.context import RankContext
from dist_erase.losses.levels import mismatched_sum, similarity_counts
from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.losses.rows import Rows
from dist_erase.models.resolve import resolve
from dist_erase.models.student import Student
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.metrics import COSINE_BUCKETS
from dist_erase.observability.rows import StepRow
from dist_erase.observability.snapshot import SnapshotWriter, to_text
from dist_erase.orchestration.single import single_rank
from dist_erase.teacher.client import TeacherStats
from dist_erase.training.deepspeed_config import deepspeed_json
from dist_erase.training.engine import Engine, make_optimizer
from dist_erase.training.hooks import record_means, record_step
from dist_erase.training.step import StepResult, TeacherConstants, training_step

MODEL = str(Path(__file__).parents[1] / "configs" / "models" / "digits.json")
FORGET, RETAIN = 32, 96
LIMIT = 0.01  # of a step
SPEC = ObjectiveSpec(
    family="softmax",
    forget_weight=3.0,
    forget_loss="cosine",
    side="both",
    towers="joint",
    retain_weight=1.0,
    soft_targets=True,
    consistency_weight=3.0,
    consistency_loss="kl_logits",
    anchor_weight=3.0,
)


def main() -> None:
    """Alternates blocks, prints what telling costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    blocks, steps = (2, 6) if options.short else (12, 16)
    torch.set_num_threads(1)  # another core for those who write, serve and scrape
    with single_rank() as context, tempfile.TemporaryDirectory() as name:
        run = Run(context)
        run.step()  # the first one allocates
        times: dict[str, list[float]] = {"bare": [], "watched": []}
        telling: list[float] = []
        for _ in range(blocks):
            times["bare"] += [run.step()[0] for _ in range(steps)]
            with watched(Path(name)) as metrics:
                for _ in range(steps):
                    seconds, result = run.step()
                    told = run.tell(metrics, seconds, result)
                    telling.append(told)
                    times["watched"].append(seconds + told)
        step = statistics.median(times["bare"])
        levels = run.levels_seconds()
        snapshot = snapshot_seconds()
    ratio = statistics.median(times["watched"]) / step
    shares = {
        "telling_share_of_step": statistics.median(telling) / step,
        "levels_share_of_step": levels / step,
        "snapshot_share_of_second": snapshot,
    }
    print(f"a step takes {1000 * step:.1f} ms bare; {len(times['bare'])} steps each way")
    print(
        f"telling {1e6 * statistics.median(telling):.0f} us and levels {1e6 * levels:.0f} us a step"
    )
    print(f"a snapshot {1000 * snapshot:.2f} ms of CPU a second")
    overhead = shares["telling_share_of_step"] + shares["levels_share_of_step"]
    print(f"together {overhead:.2%} of a step; the limit is {LIMIT:.0%}")
    print(json.dumps({"ratios": {"step_watched_vs_bare": ratio, **shares}}))
    if overhead > LIMIT and not options.short:
        sys.exit(1)


class Run:
    """A student under DeepSpeed and one batch that it trains on again and again."""

    def __init__(self, context: RankContext) -> None:
        self._context = context
        torch.manual_seed(0)
        student = Student(resolve(MODEL, None), precision="fp32", logit_scale="frozen")
        optimizer = make_optimizer(
            [p for p in student.parameters() if p.requires_grad],
            kind="adamw",
            lr=1e-5,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        )
        config = deepspeed_json(zero_stage=2, grad_clip=1.0, extra={})
        self._engine = Engine(student, optimizer, config)
        width = student.source.model_cfg["embed_dim"]
        self._batch = PairBatch(
            step=0,
            retain=samples(RETAIN, student),
            forget=samples(FORGET, student),
            read_bytes={"forget": 10**5, "retain": 10**6},
            work=DataWork(seconds=0.1, queries={"memory": 128}, hits={"memory": 120}),
        )
        image, text = (F.normalize(torch.randn(RETAIN, width), dim=1) for _ in range(2))
        self._teacher = Embeddings(image=image, text=text)

    def step(self) -> tuple[float, StepResult]:
        """One step, and the seconds that it took."""
        started = time.monotonic()
        result = training_step(
            self._engine,
            SPEC,
            self._batch,
            teacher=TeacherAnswer(retain=self._teacher, forget=None),
            constants=TeacherConstants(scale=20.0, bias=None),
            floor=torch.tensor(0.1),
            lr=1e-5,
            micro_batch=None,
            context=self._context,
        )
        return time.monotonic() - started, result

    def tell(self, metrics: Metrics, seconds: float, result: StepResult) -> float:
        """What the loop does after a step, as rank 0; the seconds that it took."""
        started = time.monotonic()
        row = StepRow(
            step=1,
            steps=100,
            loss=result.losses,
            similarity={"forget": 0.1, "retain": 0.3},
            mismatched=result.measures.mismatched,
            lr=1e-5,
            grad_norm=result.grad_norm,
            seconds={"step": seconds, "data_wait": 0.0, "teacher_wait": 0.0, **result.seconds},
            epoch=0.5,
            forget_passes=2.0,
        )
        stats = TeacherStats(requests=1, resubmitted=0, failures={}, in_flight=2, latencies=(0.1,))
        record_step(metrics, row, self._batch, stats)
        record_means(metrics, row, result)
        return time.monotonic() - started

    def levels_seconds(self) -> float:
        """Of what a step computes only to be watched."""
        image, text = self._teacher.image, self._teacher.text
        rows = Rows(
            image_bD=image,
            text_bD=text,
            image_BD=image,
            text_BD=text,
            captions_B=torch.arange(RETAIN),
            offset=0,
        )
        bounds = torch.tensor(COSINE_BUCKETS)
        taken = []
        for _ in range(50):
            started = time.monotonic()
            for _ in ("forget", "retain"):
                similarity_counts(rows, bounds)
                mismatched_sum(rows, rows)
            taken.append(time.monotonic() - started)
        return statistics.median(taken)


def samples(n: int, student: Student) -> Samples:
    """Noise."""
    spec = student.image_spec
    ids = torch.arange(n)
    return Samples(
        images=torch.randint(0, 256, (n, 3, spec.height, spec.width), dtype=torch.uint8),
        tokens=torch.randint(1, 1000, (n, student.context_length)),
        caption_ids=ids,
        image_ids=ids,
        labels=ids,
        positions=ids,
    )


@contextmanager
def watched(folder: Path) -> Iterator[Metrics]:
    """A process that is written down, served and scraped."""
    metrics = Metrics(run="bench", role="student", rank=0)
    stop = threading.Event()
    with ExitStack() as stack:
        writer = SnapshotWriter(metrics, folder / "metrics")
        stack.callback(writer.close)
        exporter = RunExporter(folder / "metrics", Exposure(run="bench", discovery=folder / "sd"))
        stack.callback(exporter.close)

        def scrape() -> None:
            while not stop.wait(1.0):
                with urllib.request.urlopen(exporter.url, timeout=10) as answer:
                    answer.read()

        thread = threading.Thread(target=scrape)
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        yield metrics


def snapshot_seconds() -> float:
    """CPU seconds of making a student's snapshot, which happens once a second."""
    metrics = Metrics(run="bench", role="student", rank=0)
    taken = []
    for _ in range(20):
        started = time.thread_time()
        to_text(metrics.registry.collect())
        taken.append(time.thread_time() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
