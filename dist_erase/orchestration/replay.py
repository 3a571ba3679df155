"""`dist-erase replay`: the global batch of a step, made again by the code that made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dist_erase.batch import PairBatch, Quarantined, Samples
from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.data.augment import ViewParameters
from dist_erase.data.digest import batch_digest, in_words
from dist_erase.data.stream import PairSettings, PartMaker, StreamPlan
from dist_erase.errors import UserError
from dist_erase.models.preprocess import image_spec_of
from dist_erase.models.resolve import load_tokenizer
from dist_erase.observability.rows import Row
from dist_erase.orchestration.evidence import read_rows
from dist_erase.orchestration.replay_changes import what_changed
from dist_erase.orchestration.run_folder import index_cache
from dist_erase.orchestration.stored_run import stored_config
from dist_erase.training.data_plan import plan_pretrain, plan_run
from dist_erase.training.recipe import Recipe, recipe_for_pretrain, recipe_for_run

Verdict = Literal["identical", "identical, views not recorded", "DIFFERENT", "not recorded"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """One pair of the batch.

    Attributes:
        place: its number in the set's share of the global batch, from 0.
        stream: forget or retain.
        shard, index, key: the sample that stands there.
        caption: as the tokenizer got it.
        label: class number, -1 = none.
        view: how augmentation changed the image.
        instead_of: the unusable sample that was to stand there; None = none.
    """

    place: int
    stream: str
    shard: str
    index: int
    key: str
    caption: str
    label: int
    view: ViewParameters
    instead_of: Quarantined | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Replayed:
    """A batch and how it compares with the run's record.

    Attributes:
        run: the run's name.
        step: as metrics.jsonl counts, from 1.
        digest: of this batch.
        without_views: the same as older versions made it, which left views out.
        recorded: of the run's; None = the run has not recorded the step.
        places: all pairs, forget before retain.
        images: uint8 [n, H, W, 3], as the student saw them, in the order of `places`.
        changes: what is not as it was when the run read it, in words.
    """

    run: str
    step: int
    digest: str
    without_views: str
    recorded: str | None
    places: tuple[Place, ...]
    images: NDArray[np.uint8]
    changes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether it is the batch that the run trained on."""
        if self.recorded is None:
            return "not recorded"
        if self.recorded == self.digest:
            return "identical"
        if self.recorded == self.without_views:  # an older version's, with augmentation
            return "identical, views not recorded"
        return "DIFFERENT"


def replay(folder: Path, step: int) -> Replayed:
    """Makes the batch of a step again.

    Raises:
        OSError: a read failed.
        UserError: no such run or step, the model's tokenizer or the shards are gone, or shards
            have changed so that the batch cannot be made.
    """
    config = stored_config(folder)
    recipe = _recipe(config)
    row = _row(folder, step, planned=recipe.data.steps)
    tokenizer = _Recording(load_tokenizer(recipe.source))
    settings = PairSettings(
        retain=recipe.data.retain,
        forget=recipe.data.forget,
        image=image_spec_of(recipe.source),
        tokenizer=tokenizer,
        seed=recipe.seed,
        augment=recipe.augment,
        cache_bytes=recipe.cache_bytes,
        scaled=recipe.scaled,
        max_pixels=recipe.max_pixels,
    )
    try:
        batch = PartMaker(settings, part=0, parts=1).make(step - 1)
    except UserError as error:
        raise _cannot(folder, step, error, what_changed(config, folder, recipe, row)) from error
    streams = [(recipe.data.forget, batch.forget), (recipe.data.retain, batch.retain)]
    made = [(plan, samples) for plan, samples in streams if plan is not None and samples]
    digest = in_words(batch_digest(batch, rank=0))
    without_views = in_words(batch_digest(batch, rank=0, views=False))
    recorded = row.get("batch")
    return Replayed(
        run=config.run.name,
        step=step,
        digest=digest,
        without_views=without_views,
        recorded=recorded,
        places=tuple(
            place
            for plan, samples in made
            for place in _places(plan, samples, step - 1, tokenizer, batch)
        ),
        images=np.concatenate([samples.images.permute(0, 2, 3, 1).numpy() for _, samples in made]),
        changes=(
            ()
            if recorded in (None, digest, without_views)
            else what_changed(config, folder, recipe, row)
        ),
    )


def refuse_difference(replayed: Replayed) -> None:
    """Raises UserError, with what changed, if it is not the batch that the run trained on."""
    if replayed.verdict != "DIFFERENT":
        return
    changes = replayed.changes or (
        "no shard has another size or version than when it was indexed; what differs may be their "
        "content, altered in place, or the program and its libraries.",
    )
    lines = [f"  {change}" for change in changes]
    problem = (
        f"the batch is not the one that the run trained on (digest {replayed.digest}, recorded "
        f"{replayed.recorded}):"
    )
    raise UserError(
        f"step {replayed.step} of {replayed.run}",
        "\n".join([problem, *lines, ""]),
        "Put back the shards that the run read.",
    )


class _Recording:
    """A tokenizer that remembers what it was given: the captions as the student got them."""

    def __init__(self, tokenizer: Callable[[list[str]], Tensor]) -> None:
        self._tokenizer = tokenizer
        self._calls: list[tuple[Tensor, list[str]]] = []

    def __call__(self, texts: list[str]) -> Tensor:
        self._calls.append((self._tokenizer(texts), texts))
        return self._calls[-1][0]

    def captions(self, tokens: Tensor) -> list[str]:
        """What became these tokens."""
        return next(texts for made, texts in self._calls if made is tokens)


def _recipe(config: RunConfig | PretrainConfig) -> Recipe:
    cache = index_cache(config)
    if isinstance(config, PretrainConfig):
        return recipe_for_pretrain(config, plan_pretrain(config, cache, held_out=False, trust=True))
    return recipe_for_run(config, plan_run(config, cache, look_for_overlap=False, held_out=False))


def _row(folder: Path, step: int, *, planned: int) -> Row:
    """The step's row; {} if it is planned but not recorded."""
    rows = {row["step"]: row for row in read_rows(folder) if "event" not in row}
    last = max([planned, *rows])
    if not 1 <= step <= last:
        raise UserError("--step", f"is {step}.", f"Choose a step from 1 to {last}.")
    return rows.get(step, {})


def _places(
    plan: StreamPlan, samples: Samples, step: int, tokenizer: _Recording, batch: PairBatch
) -> list[Place]:
    captions = tokenizer.captions(samples.tokens)
    why = {(e.stream, e.shard, e.index): e for e in batch.quarantined}
    planned = plan.order.at(step).positions.tolist()
    views = _views(samples)
    places = []
    for number, (first, used) in enumerate(zip(planned, samples.positions.tolist(), strict=True)):
        shard, index, key = plan.index.label(used)
        places.append(
            Place(
                place=number,
                stream=plan.name,
                shard=shard,
                index=index,
                key=key,
                caption=captions[number],
                label=int(samples.labels[number]),
                view=views[number],
                instead_of=(
                    None if first == used else why[(plan.name, *plan.index.label(first)[:2])]
                ),
            )
        )
    return places


def _views(samples: Samples) -> list[ViewParameters]:
    if not len(samples.views):
        return [ViewParameters()] * len(samples)
    return [
        ViewParameters(down=down, right=right, mirrored=bool(mirrored))
        for down, right, mirrored in samples.views.tolist()
    ]


def _cannot(folder: Path, step: int, error: UserError, changes: Sequence[str]) -> UserError:
    lines = [f"  {change}" for change in changes]
    return UserError(
        f"step {step} of {folder}",
        "\n".join([f"cannot be made again: {error.where}: {error.problem}", *lines, ""]),
        "Put back the shards that the run read.",
    )
