"""Which samples a run reads, for how many steps, and on which world sizes: no pixel is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dist_erase.batch import ImageSpec, Samples, StreamName
from dist_erase.config.data import MAX_PIXELS, DataConfig, StreamingConfig
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.config.sizes import parse_size
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan, read_class_names
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.overlap import find_overlap, refuse_overlap
from dist_erase.data.pairs import StreamPlan
from dist_erase.data.sample import Tokenizer
from dist_erase.data.scan import iterate_set
from dist_erase.data.set_index import SetIndex
from dist_erase.data.sharing import allowed_worlds, check_world, choose_streams
from dist_erase.data.source import SourceSettings

_FLOOR_RETAIN_PAIRS = 4096  # DESIGN section 2


@dataclass(frozen=True, kw_only=True)
class WholeSet:
    """A set that is read in file order: evaluation, floor."""

    index: SetIndex
    captions: CaptionPlan
    max_pixels: int = MAX_PIXELS

    def read(
        self,
        image: ImageSpec,
        tokenizer: Tokenizer,
        *,
        batch: int,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Samples]:
        """Decoded batches; a bad sample is a UserError."""
        return iterate_set(
            self.index,
            self.captions,
            image,
            tokenizer,
            batch=batch,
            start=start,
            stop=stop,
            max_pixels=self.max_pixels,
        )


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Everything about a run's data that is known before the first pixel.

    Attributes:
        retain: the retain stream (the only one when pretraining).
        forget: the forget stream.
        steps: planned steps.
        epoch_of: the set whose passes are epochs.
        evaluation: held-out sets by name.
        floor_sets: forget pairs and the drawn retain pairs that the floor is made from.
        classes: class names in `.cls` order; empty if not given.
        overlap: what is known about images shared by forget and retain, for the report.
    """

    retain: StreamPlan
    forget: StreamPlan | None
    steps: int
    epoch_of: StreamName
    evaluation: dict[str, WholeSet]
    floor_sets: tuple[WholeSet, WholeSet] | None
    classes: tuple[str, ...]
    overlap: dict[str, object]

    @property
    def faults(self) -> list[str]:
        """What is wrong with whole shards of the training sets, in words."""
        plans = (plan for plan in (self.forget, self.retain) if plan is not None)
        return [fault for plan in plans for fault in plan.index.faults]

    @property
    def orders(self) -> list[Order]:
        """The orders of the streams there are."""
        return [s.order for s in (self.forget, self.retain) if s is not None]

    def worlds(self) -> list[int]:
        """World sizes that give the same global batches."""
        return allowed_worlds(*self.orders)

    def check_world(self, world: int, *, where: str) -> None:
        """Raises UserError, naming the sizes that fit, if `world` does not."""
        check_world(world, *self.orders, where=where)

    def epoch(self, step: int) -> float:
        """Passes over the set named by epoch_of after `step` steps."""
        chosen = self.forget if self.epoch_of == "forget" else self.retain
        return 0.0 if chosen is None else chosen.order.passes_after(step)

    def forget_passes(self, step: int) -> float:
        """How often each forget pair was seen after `step` steps."""
        return 0.0 if self.forget is None else self.forget.order.passes_after(step)


def plan_run(
    config: RunConfig,
    cache_dir: Path,
    *,
    look_for_overlap: bool,
    held_out: bool = True,
    unwritten: bool = False,
) -> DataPlan:
    """Indexes every set of an erasing run.

    Args:
        config: with absolute paths.
        cache_dir: where shard scans are kept.
        look_for_overlap: hash the images of forget and retain and refuse shared ones, and look
            whether shards have changed since they were indexed. The driver does so once; ranks
            need it only where it happens while training.
        held_out: index the sets of `data.eval` too; without, `evaluation` is empty.
        unwritten: see `SetIndex`.

    Raises:
        UserError: anything wrong with shards, batches, streams or disjointness.
    """
    data, seed = config.data, config.seed
    classes = read_class_names(data.classes) if data.classes else ()

    tolerant = data.max_corrupt_fraction > 0

    def index(source: SourceConfig, where: str, *, tolerant: bool = False) -> SetIndex:
        return index_set(
            source,
            where=where,
            settings=SourceSettings.of(data),
            cache_dir=cache_dir,
            seed=seed,
            tolerant=tolerant,
            trust=not look_for_overlap,
            unwritten=unwritten,
        )

    def whole(index: SetIndex, captions: CaptionPlan) -> WholeSet:
        return WholeSet(index=index, captions=captions, max_pixels=data.max_pixels)

    forget_index = index(data.forget, "data.forget", tolerant=tolerant)
    retain_index = index(data.retain, "data.retain", tolerant=tolerant)
    forget = _stream(
        "forget", forget_index, data.forget, config.train.forget_batch, config, classes
    )
    retain = _stream(
        "retain", retain_index, data.retain, config.train.retain_batch, config, classes
    )
    limit = parse_size(data.overlap_scan_max)
    overlap: dict[str, object] = {
        "count": None,
        "examples": (),
        "method": "not looked for (data.allow_overlap)",
    }
    if not data.allow_overlap and (look_for_overlap or retain_index.bytes > limit):
        found = find_overlap(forget_index, retain_index, max_bytes=limit)
        refuse_overlap(found)
        overlap = {"count": found.count, "examples": found.examples, "method": found.method}
        retain = _forbid(retain, found.forget_images)
    drawn = data.retain.model_copy(
        update={"max_samples": min(_FLOOR_RETAIN_PAIRS, data.retain.max_samples or 10**12)}
    )
    train, chosen = config.train, forget.order if data.epoch_of == "forget" else retain.order
    limits = [chosen.steps_for(train.epochs)]
    if train.max_steps is not None:
        limits.append(train.max_steps)
    if train.max_forget_passes is not None:
        limits.append(forget.order.steps_for(train.max_forget_passes))
    return DataPlan(
        retain=retain,
        forget=forget,
        steps=min(limits),
        epoch_of=data.epoch_of,
        evaluation={
            name: whole(index(source, f"data.eval.{name}"), _of(source, classes))
            for name, source in (_evaluation_sources(data).items() if held_out else ())
        },
        floor_sets=(
            whole(forget_index, forget.captions),
            whole(index(drawn, "data.retain", tolerant=tolerant), retain.captions),
        ),
        classes=classes,
        overlap=overlap,
    )


def plan_pretrain(
    config: PretrainConfig, cache_dir: Path, *, held_out: bool = True, trust: bool = False
) -> DataPlan:
    """Indexes the sets of a pretraining run; raises UserError as `plan_run` does."""
    data = config.data
    classes = read_class_names(data.classes) if data.classes else ()
    settings = SourceSettings.of(data)
    index = index_set(
        data.train,
        where="data.train",
        settings=settings,
        cache_dir=cache_dir,
        seed=config.seed,
        tolerant=data.max_corrupt_fraction > 0,
        trust=trust,
    )
    batch = config.train.batch
    order = Order(
        counts=index.counts,
        mix=index.mix,
        block=data.block,
        window=data.shuffle_window,
        batch=batch,
        streams=choose_streams(batch, data.streams, where="train.batch"),
        seed=config.seed,
        where="train.batch",
    )
    steps = order.steps_for(config.train.epochs)
    evaluation = {}
    if held_out:
        held_out_index = index_set(
            data.eval, where="data.eval", settings=settings, cache_dir=cache_dir, seed=config.seed
        )
        evaluation["retain"] = WholeSet(
            index=held_out_index,
            captions=_of(data.eval, classes),
            max_pixels=data.max_pixels,
        )
    return DataPlan(
        retain=StreamPlan(
            name="retain",
            index=index,
            order=order,
            captions=_of(data.train, classes),
            max_corrupt_fraction=data.max_corrupt_fraction,
        ),
        forget=None,
        steps=min(steps, config.train.max_steps or steps),
        epoch_of="retain",
        evaluation=evaluation,
        floor_sets=None,
        classes=classes,
        overlap={},
    )


def _stream(
    name: StreamName,
    index: SetIndex,
    source: SourceConfig,
    batch: int,
    config: RunConfig,
    classes: tuple[str, ...],
) -> StreamPlan:
    data: StreamingConfig = config.data
    where = f"train.{name}_batch"
    return StreamPlan(
        name=name,
        index=index,
        order=Order(
            counts=index.counts,
            mix=index.mix,
            block=data.block,
            window=data.shuffle_window,
            batch=batch,
            streams=choose_streams(batch, data.streams, where=where),
            seed=config.seed,
            where=where,
        ),
        captions=_of(source, classes),
        max_corrupt_fraction=data.max_corrupt_fraction,
    )


def _of(source: SourceConfig, classes: tuple[str, ...]) -> CaptionPlan:
    return CaptionPlan.of(source, classes)


def _forbid(plan: StreamPlan, images: frozenset[int]) -> StreamPlan:
    return StreamPlan(**(vars(plan) | {"forbidden_images": images}))


def _evaluation_sources(data: DataConfig) -> dict[str, SourceConfig]:
    sets = {
        "forget": data.eval.forget,
        "retain": data.eval.retain,
        "holdout_association": data.eval.holdout_association,
        "holdout_identity": data.eval.holdout_identity,
    }
    named = {name: source for name, source in sets.items() if source is not None}
    return named | {f"untouched/{name}": s for name, s in data.eval.untouched.items()}
