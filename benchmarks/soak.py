"""A long run of the data plane: both streams, persistent workers, memory and files watched.

    python benchmarks/soak.py              # 5 epochs over 200 shards x 1,000 samples
    python benchmarks/soak.py --short      # 2 epochs over 10 shards x 200 samples

Prints a line for each epoch: seconds, samples/s, resident memory (PSS) of this process and all its
children, open files. The last line is JSON: memory and files of the last epoch against the
second (the first fills caches), and how long closing takes.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
import webdataset as wds
from PIL import Image
from torch import Tensor

from dist_erase.batch import ImageSpec, StreamName
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import PairStream, StreamPlan

SPEC = ImageSpec(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3)
BATCHES: dict[StreamName, int] = {"retain": 256, "forget": 64}


def lengths(texts: list[str]) -> Tensor:
    """A tokenizer that data workers can import."""
    return torch.tensor([[len(text)] * 16 for text in texts])


def main() -> None:
    """Writes shards, streams them for some epochs, prints what grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    shards, samples, epochs = (10, 200, 2) if options.short else (200, 1000, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "retain", shards, samples, first=0)
        write(folder / "forget", max(1, shards // 40), samples, first=10**6)
        stream = PairStream(
            retain=plan(folder, "retain"),
            forget=plan(folder, "forget"),
            image=SPEC,
            tokenizer=lengths,
            workers=options.workers,
            seed=0,
            cache_bytes=32 * 2**20,
        )
        steps = shards * samples // BATCHES["retain"]
        epochs_seen = [epoch(stream, number, steps) for number in range(1, epochs + 1)]
        started = time.monotonic()
        stream.close()
        closing = time.monotonic() - started
        left = len(psutil.Process().children(recursive=True))
    settled, last = epochs_seen[min(1, epochs - 1)], epochs_seen[-1]
    print(f"closed in {closing:.2f} s; {left} processes left (the fork server and its tracker)")
    ratios = {f"{what}_last_vs_second": last[what] / settled[what] for what in ("memory", "files")}
    print(json.dumps({"ratios": ratios}))


def epoch(stream: PairStream, number: int, steps: int) -> dict[str, float]:
    """One pass over the retain set; what is held at its end."""
    started = time.monotonic()
    for _ in range(steps):
        next(stream)
    seconds = time.monotonic() - started
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    memory = sum(process.memory_full_info().pss for process in family)
    files = sum(process.num_fds() for process in family)
    rate = steps * sum(BATCHES.values()) / seconds
    print(
        f"epoch {number}: {seconds:.1f} s, {rate:,.0f} samples/s, {memory / 2**20:.0f} MiB in "
        f"{len(family)} processes, {files} open files",
        flush=True,
    )
    return {"memory": float(memory), "files": float(files)}


def plan(folder: Path, name: StreamName) -> StreamPlan:
    """A set as a run would stream it."""
    index = index_set(
        SourceConfig(shards=f"{folder / name}/*.tar"), where=name, cache_dir=folder / "index"
    )
    batch = BATCHES[name]
    order = Order(counts=index.counts, block=64, window=4096, streams=batch, batch=batch, seed=0)
    return StreamPlan(name=name, index=index, order=order, captions=CaptionPlan())


def write(folder: Path, shards: int, samples: int, *, first: int) -> None:
    """Shards of small noise images."""
    folder.mkdir(parents=True)
    number = first
    for shard in range(shards):
        with wds.TarWriter(str(folder / f"{shard:05d}.tar")) as writer:
            for _ in range(samples):
                pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
                image = io.BytesIO()
                Image.fromarray(pixels).save(image, "jpeg")
                caption = f"noise number {number}"
                writer.write({"__key__": f"{number:09d}", "jpg": image.getvalue(), "txt": caption})
                number += 1


if __name__ == "__main__":
    import soak  # under its own name, workers can import its tokenizer

    soak.main()
