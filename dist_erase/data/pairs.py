"""The endless stream of one rank's pair batches, decoded by a pool of processes.

Each data worker serves an equal share of the rank's virtual streams, of both sets; the parts are
joined in stream order, so the batches do not depend on the number of workers.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dist_erase.batch import (
    DataWork,
    ImageSpec,
    PairBatch,
    Samples,
    StreamName,
    concat_samples,
)
from dist_erase.config.data import MAX_PIXELS
from dist_erase.config.train import AugmentConfig
from dist_erase.data.handover import PREFETCH, ImageSlots
from dist_erase.data.processes import begin_child, forkserver, main_hidden
from dist_erase.data.sample import Tokenizer
from dist_erase.data.sharing import share
from dist_erase.data.stream import PairSettings, PartMaker, StreamPlan
from dist_erase.data.watchdog import Watchdog, answer_in
from dist_erase.errors import UserError

__all__ = ["PairStream", "StreamPlan"]


@dataclass(frozen=True)
class _Failure:
    """An error on its way to the consumer: DataLoader would wrap a raised one."""

    error: UserError | OSError


@dataclass(frozen=True)
class _Parcel:
    """A part on its way from a data worker: every tensor would cost a handshake of its own."""

    part: PairBatch  # its samples hold arrays, and no images: those lie in the worker's slots

    @classmethod
    def of(cls, part: PairBatch) -> _Parcel:
        return cls(_changed(part, lambda _, samples: _arrays(samples)))

    def opened(self, images: dict[StreamName, Tensor]) -> PairBatch:
        return _changed(self.part, lambda name, samples: _tensors(samples, images[name]))


def _changed(part: PairBatch, change: Callable[[StreamName, Samples], Samples]) -> PairBatch:
    forget = None if part.forget is None else change("forget", part.forget)
    return replace(part, retain=change("retain", part.retain), forget=forget)


def _arrays(samples: Samples) -> Samples:
    fields: dict[str, Any] = {name: value.numpy() for name, value in vars(samples).items()}
    return Samples(**fields | {"images": None})


def _tensors(samples: Samples, images: Tensor) -> Samples:
    fields = {name: value for name, value in vars(samples).items() if name != "images"}
    return Samples(images=images, **{name: torch.from_numpy(v) for name, v in fields.items()})


class PairStream(Iterator[PairBatch]):
    """Batches of steps start_step, start_step + 1, … of one rank; ends never.

    Args:
        retain, forget: the sets; without a forget stream, None.
        image: the size that images are brought to.
        tokenizer: list of n texts → int64 [n, L]; picklable unless `workers` is 0.
        rank, world: this rank and the number of ranks, which must divide the streams of both sets.
        workers: decoding processes, lowered to a number that divides the rank's streams; 0 =
            decode in this process.
        start_step: the first step.
        seed: of templates and augmentation (the order has its own).
        augment: random changes of the images; None = none.
        cache_bytes: bytes of shard blocks that each worker keeps.
        watch_seconds: when a batch is waited for so long, the workers write where they are stuck.
        stacks: folder for that; None = a temporary one.
        scaled: decode large photos at a smaller scale (`data.decode: scaled`).
        max_pixels: larger images are unusable samples.

    Attributes:
        workers: the number of processes in use.
        most_workers: the most that could be; every number in use divides it.
    """

    def __init__(
        self,
        *,
        retain: StreamPlan,
        forget: StreamPlan | None = None,
        image: ImageSpec,
        tokenizer: Tokenizer,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        start_step: int = 0,
        seed: int,
        augment: AugmentConfig | None = None,
        cache_bytes: int = 256 * 2**20,
        watch_seconds: float = 300.0,
        stacks: Path | None = None,
        scaled: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        plans = [plan for plan in (retain, forget) if plan is not None]
        self.most_workers = math.gcd(*(len(share(p.order.streams, rank, world)) for p in plans))
        self.workers = _fitting_workers(workers, self.most_workers)
        settings = PairSettings(
            retain=retain,
            forget=forget,
            image=image,
            tokenizer=tokenizer,
            seed=seed,
            augment=augment,
            cache_bytes=cache_bytes,
            scaled=scaled,
            max_pixels=max_pixels,
        )
        self._slots = [_slots(plans, world * self.workers, image) for _ in range(self.workers)]
        parts = _Parts(settings, rank, world, start_step, self._slots)
        self._watchdog = Watchdog(watch_seconds, stacks)
        self._workers: list[Any] = []
        if self.workers:
            self._parts, self._workers = _start_workers(parts, self.workers, self._watchdog.folder)
            self._watchdog.watch([worker.pid for worker in self._workers])
        else:
            self._parts = iter(parts)

    def __next__(self) -> PairBatch:
        """The next step's batch; how many unusable samples are too many is not judged here.

        Raises:
            OSError: a read failed (never taken for a bad sample).
            UserError: a shard that changed, or a set without a usable sample.
        """
        with self._watchdog.waiting():
            return self._join()

    def close(self) -> None:
        """Ends the data workers; the stream gives nothing more."""
        # Dropping DataLoader's iterator is its documented way of ending persistent workers.
        self._parts = iter(())
        for worker in self._workers:
            worker.kill()  # one that was stuck; SIGTERM, which DataLoader tries, is blocked there
        self._watchdog.close()

    def _next_part(self) -> PairBatch | _Parcel:
        part = next(self._parts)
        if isinstance(part, _Failure):
            self.close()
            raise part.error
        return part

    def _join(self) -> PairBatch:
        """One part of each worker as one batch, copied out of the workers' slots."""
        if not self.workers:
            whole = self._next_part()
            assert isinstance(whole, PairBatch)
            return whole
        parts = []
        for slots in self._slots:
            parcel = self._next_part()
            assert isinstance(parcel, _Parcel)
            parts.append(parcel.opened(slots.images(parcel.part.step)))
        batch = _joined(parts)
        for slots in self._slots:
            slots.check(batch.step)
        return batch


class _Parts(IterableDataset[PairBatch | _Parcel | _Failure]):
    """The parts that one data worker makes (all of the rank's in the rank's own process)."""

    def __init__(
        self,
        settings: PairSettings,
        rank: int,
        world: int,
        start_step: int,
        slots: list[ImageSlots],
    ) -> None:
        self._settings = settings
        self._rank = rank
        self._world = world
        self._start_step = start_step
        self._slots = slots

    def __iter__(self) -> Iterator[PairBatch | _Parcel | _Failure]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        part, parts = self._rank * workers + worker, self._world * workers
        try:
            maker = PartMaker(self._settings, part=part, parts=parts)
            for step in count(self._start_step):
                if info:
                    yield _Parcel.of(maker.make(step, self._slots[worker].begin(step)))
                else:
                    yield maker.make(step)
        except (UserError, OSError) as error:
            yield _Failure(error)


def _fitting_workers(asked: int, most: int) -> int:
    return max((n for n in range(1, asked + 1) if most % n == 0), default=0)


def _slots(plans: list[StreamPlan], parts: int, image: ImageSpec) -> ImageSlots:
    return ImageSlots({plan.name: plan.order.batch // parts for plan in plans}, image)


def _joined(parts: list[PairBatch]) -> PairBatch:
    """The batch that parts are of, in new memory."""
    first = parts[0]
    if any(part.step != first.step for part in parts):
        raise AssertionError(f"parts of different steps: {[part.step for part in parts]}")
    read_bytes: dict[StreamName, int] = {
        name: sum(part.read_bytes[name] for part in parts) for name in first.read_bytes
    }
    forget = [part.forget for part in parts if part.forget is not None]
    return replace(
        first,
        retain=concat_samples([part.retain for part in parts]),
        forget=concat_samples(forget) if forget else None,
        quarantined=tuple(entry for part in parts for entry in part.quarantined),
        read_bytes=read_bytes,
        work=sum((part.work for part in parts), DataWork()),
    )


def _start_workers(
    parts: _Parts, workers: int, stacks: Path
) -> tuple[Iterator[PairBatch | _Parcel | _Failure], list[Any]]:
    """Starts the pool; DataLoader asks the workers in turn, so parts come in stream order."""
    before = set(multiprocessing.active_children())
    loader = DataLoader(
        parts,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCH,
        persistent_workers=True,
        multiprocessing_context=forkserver("dist_erase.data.stream"),
        worker_init_fn=partial(_begin_worker, stacks),
        # Its own: drawing the workers' seed must not move the rank's random state.
        generator=torch.Generator(),
    )
    with main_hidden():
        made = iter(loader)
    return made, list(set(multiprocessing.active_children()) - before)


def _begin_worker(stacks: Path, _: int) -> None:
    """Ctrl-C is the rank's business; a rank killed outright takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin_child()
    answer_in(stacks)
