"""Streams killed outright and started again, on other worlds too: the sequence is the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import StreamPlan

STEPS = 24
SETS = {"retain": 8, "forget": 4}  # batches, and streams: worlds 1, 2 and 4 fit

RANK = """
import json, sys, time
sys.path[:0] = {paths!r}
from dist_erase.batch import ImageSpec
from dist_erase.data.pairs import PairStream
from support.pair_streams import characters
from test_data_sigkill import STEPS, plans
rank, world, start, workers, out = *map(int, sys.argv[1:5]), sys.argv[5]
sets = plans({patterns!r})
stream = PairStream(
    **sets, tokenizer=characters, seed=5, rank=rank, world=world, workers=workers, start_step=start,
    image=ImageSpec(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3), cache_bytes=3000,
)
with open(out, "a") as file:
    for step in range(start, STEPS):
        batch = next(stream)
        assert batch.step == step
        row = {{"step": step, "bad": [(q.stream, q.key, q.reason) for q in batch.quarantined]}}
        for name, plan in sets.items():
            labels = [plan.index.label(p) for p in getattr(batch, name).positions.tolist()]
            row[name] = [(shard, number, key) for shard, number, key in labels]
        file.write(json.dumps(row) + "\\n")
        file.flush()
        time.sleep(0.1 if world > 1 else 0.02)
stream.close()
"""


def plans(patterns: dict[str, str]) -> dict[str, StreamPlan]:
    made = {}
    for name, batch in SETS.items():
        index = index_set(SourceConfig(shards=patterns[name]), where=f"data.{name}", tolerant=True)
        order = Order(counts=index.counts, block=4, window=16, streams=batch, batch=batch, seed=9)
        made[name] = StreamPlan(
            name=name, index=index, order=order, captions=CaptionPlan(), max_corrupt_fraction=0.5
        )
    return made


class Ranks:
    """All ranks of one start."""

    def __init__(self, script: Path, folder: Path, world: int, start: int, workers: int) -> None:
        folder.mkdir()
        self.files = [folder / f"{rank}.jsonl" for rank in range(world)]
        numbers = [[str(n) for n in (rank, world, start, workers)] for rank in range(world)]
        self.processes = [
            subprocess.Popen([sys.executable, str(script), *own, str(file)])
            for own, file in zip(numbers, self.files, strict=True)
        ]

    def rows(self) -> dict[int, dict]:
        """The steps that every rank has done, joined over ranks."""
        by_rank = []
        for file in self.files:
            lines = file.read_text().split("\n")[:-1] if file.exists() else []
            by_rank.append({row["step"]: row for row in map(json.loads, lines)})
        common = set.intersection(*(set(rows) for rows in by_rank))
        return {
            step: {
                name: [x for rows in by_rank for x in rows[step][name]]
                for name in ("retain", "forget", "bad")
            }
            for step in common
        }

    def wait_for(self, steps: int) -> None:
        deadline = time.monotonic() + 300
        while len(self.rows()) < steps:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def terminate_data_workers_after(self, steps: int) -> None:
        """SIGTERM to all that the ranks have started, as launchers send it to process trees."""
        self.wait_for(steps)
        for process in self.processes:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()

    def kill_after(self, steps: int) -> dict[int, dict]:
        self.wait_for(steps)
        for process in self.processes:
            process.kill()
            process.wait()
        return self.rows()

    def finish(self) -> dict[int, dict]:
        for process in self.processes:
            assert process.wait(timeout=300) == 0
        return self.rows()


@pytest.fixture
def start(shards: Callable[..., str], tmp_path: Path) -> Callable[..., Ranks]:
    """Starts ranks over a dirty pair of sets."""

    def spoil(number: int, sample: dict) -> None:
        if number % 7 == 3:
            sample["jpg"] = sample["jpg"][:40]
        if number % 11 == 5:
            sample["txt"] = ""

    patterns = {"retain": shards([9, 30, 1, 14], "retain", spoil), "forget": shards([21], "forget")}
    cut = Path(patterns["retain"]).parent / "001.tar"
    cut.write_bytes(cut.read_bytes()[:-20_000])
    here = Path(__file__).parent
    script = tmp_path / "rank.py"
    script.write_text(RANK.format(paths=[str(here), str(here.parent)], patterns=patterns))

    def begin(name: str, world: int, first: int = 0, workers: int = 2) -> Ranks:
        return Ranks(script, tmp_path / name, world, first, workers)

    return begin


def test_killed_and_resumed_on_other_worlds(start: Callable[..., Ranks]) -> None:
    undisturbed = start("undisturbed", 1, workers=0).finish()
    assert sorted(undisturbed) == list(range(STEPS))
    assert {reason for row in undisturbed.values() for _, _, reason in row["bad"]} >= {
        "image",
        "caption",
    }
    found: dict[int, dict] = {}
    for number, (world, steps) in enumerate([(2, 6), (1, STEPS)]):
        ranks = start(f"part-{number}", world, len(found))
        ranks.terminate_data_workers_after(2)
        found |= ranks.finish() if steps == STEPS else ranks.kill_after(steps)
    for step in range(STEPS):
        for name in ("retain", "forget"):
            assert found[step][name] == undisturbed[step][name], (step, name)
        assert sorted(found[step]["bad"]) == sorted(undisturbed[step]["bad"])
