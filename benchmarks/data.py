"""The data plane against what everyone uses, side by side in one run.

    python benchmarks/data.py [--short] [--sizes 256,512,1024] [--workers 2]

Real photos, JPEG of quality 90, brought to 224 px; page cache warm. Compared sides take turns, and
medians count. The last line is one JSON object with the ratios:

- fast_vs_pil_per_core_N: our decoding (`data.decode: scaled`, the default of training) against PIL
  and open_clip's transform with ToTensor and Normalize, samples per CPU second in one process on
  one core; exact_vs_pil_per_core_N: the same with `data.decode: exact`. Ours ends in uint8: the
  device normalises.
- loader_vs_raw_N: samples per second through PairStream with W data workers, tokens included,
  against reading the tars, decoding and resizing in W bare processes; loader_vs_raw_cpu_N: the
  same in CPU time (a busy machine does not blur it).
- loader_vs_open_clip_N: the same against open_clip_train's own webdataset pipeline.
- resume_99_vs_1: seconds to the first batch of a PairStream that starts at 99 % of an epoch,
  against 1 %, in fresh processes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import open_clip
import open_clip_train.data
import psutil
import torch
import webdataset as wds
from open_clip.transform import image_transform
from photo_shards import jpegs, link_shards, write_shards
from PIL import Image

from dist_erase.batch import ImageSpec
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.decode import decode_image
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import PairStream, StreamPlan
from dist_erase.data.set_index import SetIndex
from dist_erase.data.shards import expand_shards
from dist_erase.models.tokenizer import model_tokenizer

SPEC = ImageSpec(height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)
TINY = ImageSpec(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)
BATCH = 64
WARM_UP = 6  # batches before the clock starts: processes are up, queues are full
STEPS, SHORT_STEPS = 40, 8  # batches on the clock
SHARDS = 8
Rates = dict[str, list[float]]


def main() -> None:
    """Parses the command line, measures, prints the tables and the ratios as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="less than a minute, rough figures")
    parser.add_argument("--sizes", help="default: 256,512,1024; with --short 256")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rounds = 1 if options.short else 5
    sizes = options.sizes or ("256" if options.short else "256,512,1024")
    # Processes are forked, so that each is fresh without importing everything again.
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, Pillow {Image.__version__}")
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="dist-erase-bench-") as folder:
        for side in map(int, sizes.split(",")):
            images = jpegs(side, 24 if options.short else 120 * 256 // side)
            ratios |= decoding(side, images, rounds)
            # Twice as many as the clock sees: everything read is read for the first time. And more
            # than data.shuffle_window (unless short), as a real pool is.
            steps = SHORT_STEPS if options.short else STEPS
            samples = 2 * steps * BATCH // SHARDS
            pattern = write_shards(Path(folder) / str(side), images, shards=SHARDS, samples=samples)
            ratios |= loading(side, pattern, steps, options.workers, min(rounds, 3))
        ratios |= resuming(Path(folder), options.short, rounds)
    print(json.dumps({"ratios": {name: round(ratio, 3) for name, ratio in ratios.items()}}))


def decoding(side: int, images: list[bytes], rounds: int) -> dict[str, float]:
    """Samples per CPU second, in a process of its own that stays on one core."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        rates = pool.submit(_decoding, images, rounds).result()
    table(f"{side} px, decoding, samples per CPU second of one core", rates)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return {
        f"fast_vs_pil_per_core_{side}": middle["scaled"] / middle["PIL + open_clip"],
        f"exact_vs_pil_per_core_{side}": middle["exact"] / middle["PIL + open_clip"],
    }


def _decoding(images: list[bytes], rounds: int) -> Rates:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    transform = image_transform(224, is_train=False)
    sides: dict[str, Callable[[bytes], Any]] = {
        "PIL + open_clip": lambda data: transform(Image.open(io.BytesIO(data))),
        "exact": lambda data: decode_image(data, SPEC),
        "scaled": lambda data: decode_image(data, SPEC, scaled=True),
    }
    rates: Rates = {name: [] for name in sides}
    for turn in range(-1, rounds):
        for name, decode in sides.items():
            start = time.process_time()
            for data in images[: 8 if turn < 0 else None]:
                decode(data)
            if turn >= 0:  # the first turn warms up
                rates[name].append(len(images) / (time.process_time() - start))
    return rates


def loading(side: int, pattern: str, steps: int, workers: int, rounds: int) -> dict[str, float]:
    """Samples per second of wall time, and milliseconds of CPU time that one costs."""
    [paths] = expand_shards(pattern, where="benchmark")
    plan = _plan(index_set(SourceConfig(shards=pattern), where="benchmark"))
    samples = steps * BATCH
    names = ("bare processes", "PairStream", "open_clip_train")
    rates: Rates = {name: [] for name in names}
    costs: Rates = {name: [] for name in names}

    def note(name: str, count: int, work: Callable[[], Any]) -> None:
        start, spent = time.perf_counter(), _cpu_seconds()
        work()
        costs[name].append((_cpu_seconds() - spent) / count * 1000)
        rates[name].append(count / (time.perf_counter() - start))

    half = paths[: SHARDS // 2]
    shares = [list(half[worker::workers]) for worker in range(workers)]
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        list(pool.map(_raw, [paths[:1]] * workers))  # starts them
        for _ in range(rounds):
            note("bare processes", samples, lambda: list(pool.map(_raw, shares)))
            stream = _pair_stream(plan, workers)
            _take(stream, WARM_UP)
            note("PairStream", samples, partial(_take, stream, steps))
            stream.close()
            theirs = _open_clip_loader(pattern, 2 * samples, workers)
            _take(theirs, WARM_UP)
            note("open_clip_train", samples, partial(_take, theirs, steps))
            del theirs
    table(f"{side} px, loading with {workers} workers, samples per second", rates)
    table(f"{side} px, the same, milliseconds of CPU time per sample", costs)
    rate = {name: statistics.median(values) for name, values in rates.items()}
    cost = {name: statistics.median(values) for name, values in costs.items()}
    return {
        f"loader_vs_raw_{side}": rate["PairStream"] / rate["bare processes"],
        f"loader_vs_raw_cpu_{side}": cost["bare processes"] / cost["PairStream"],
        f"loader_vs_open_clip_{side}": rate["PairStream"] / rate["open_clip_train"],
    }


def _cpu_seconds() -> float:
    """Of this process and everything below it that is alive."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


def _take(batches: Iterator[Any], count: int) -> None:
    for _ in islice(batches, count):
        pass


def _plan(index: SetIndex) -> StreamPlan:
    order = Order(counts=index.counts, block=64, window=4096, streams=BATCH, batch=BATCH, seed=0)
    return StreamPlan(name="retain", index=index, order=order, captions=CaptionPlan())


def _raw(paths: list[str]) -> None:
    """Nothing but reading, decoding, resizing."""
    for path in paths:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    content = tar.extractfile(member)
                    assert content is not None
                    decode_image(content.read(), SPEC, scaled=True)


def _pair_stream(plan: StreamPlan, workers: int) -> PairStream:
    tokenizer = model_tokenizer("ViT-B-32")
    return PairStream(
        retain=plan, image=SPEC, tokenizer=tokenizer, workers=workers, seed=0, scaled=True
    )


def _open_clip_loader(pattern: str, samples: int, workers: int) -> Iterator[Any]:
    args = Namespace(
        train_data=pattern,
        train_num_samples=samples,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        workers=workers,
        world_size=1,
        batch_size=BATCH,
    )
    # open_clip 3.3's own grouping stage fails on what webdataset 1.0 puts at the end of a shard
    # (KeyError: 'fname'); webdataset's stage, which it is a variant of, takes its place.
    open_clip_train.data.tarfile_to_samples_nothrow = wds.tarfile_to_samples()
    transform = image_transform(224, is_train=True)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    data = open_clip_train.data.get_wds_dataset(args, transform, True, tokenizer=tokenizer)
    return iter(data.dataloader)


def resuming(folder: Path, short: bool, rounds: int) -> dict[str, float]:
    """Seconds from making a stream to its first batch."""
    shards, samples = (40, 250) if short else (200, 1000)
    pattern = link_shards(folder / "tiny", jpegs(16, 12), shards=shards, samples=samples)
    cache = folder / "index"
    index_set(SourceConfig(shards=pattern), where="benchmark", cache_dir=cache)
    steps = shards * samples // BATCH
    seconds: Rates = {"at 1 %": [], "at 99 %": []}
    for _ in range(rounds):
        for name, step in zip(seconds, (steps // 100, steps * 99 // 100), strict=True):
            # A fresh process each: nothing that an earlier stream computed is at hand.
            with ProcessPoolExecutor(1, get_context("fork")) as pool:
                seconds[name].append(pool.submit(_first_batch, pattern, cache, step).result())
    table(f"resuming in {shards} shards x {samples} samples, seconds to the first batch", seconds)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {"resume_99_vs_1": middle["at 99 %"] / middle["at 1 %"]}


def _first_batch(pattern: str, cache: Path, step: int) -> float:
    index = index_set(SourceConfig(shards=pattern), where="benchmark", cache_dir=cache)
    plan = _plan(index)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    tokenizer(["warm"])
    decode_image(jpegs(16, 1)[0], TINY)
    start = time.perf_counter()
    # No data workers: their start takes seconds and would hide what the position costs.
    stream = PairStream(retain=plan, image=TINY, tokenizer=tokenizer, seed=0, start_step=step)
    next(stream)
    return time.perf_counter() - start


def table(title: str, rates: Rates) -> None:
    """Prints medians with the lowest and the highest value."""
    print(f"\n{title}")
    for name, values in rates.items():
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"  {name:<18} {middle:>10.4g}   ({low:.4g} to {high:.4g})", flush=True)


if __name__ == "__main__":
    main()
