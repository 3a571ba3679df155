"""`dist-erase data verify`: all sets of a run read in full, counts by reason, and what to do."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dist_erase.batch import ImageSpec
from dist_erase.data.counting import Progress
from dist_erase.data.indexing import IndexedSet
from dist_erase.data.verify import (
    UNREADABLE,
    BadEntry,
    Verdict,
    Verification,
    forget_verdicts,
    verify_shards,
)
from dist_erase.errors import UserError
from dist_erase.imports import quick_imports
from dist_erase.orchestration.data_index import index_sets
from dist_erase.orchestration.sets import ChosenSets, NamedSet
from dist_erase.storage import write_text

# Of most CLIP models.
_USUAL = ImageSpec(height=224, width=224, mean=(0.0,) * 3, std=(1.0,) * 3)


@dataclass(frozen=True, kw_only=True)
class VerifiedSet:
    """One set, read in full."""

    chosen: NamedSet
    indexed: IndexedSet
    verdicts: tuple[Verdict, ...]

    @property
    def bad(self) -> list[BadEntry]:
        """Everything that cannot be used."""
        return [entry for verdict in self.verdicts for entry in verdict.bad]

    @property
    def bad_samples(self) -> int:
        """Single samples that cannot be used."""
        return sum(entry.index >= 0 for entry in self.bad)

    @property
    def reasons(self) -> dict[str, int]:
        """Entries by reason, the most frequent first."""
        return dict(Counter(entry.reason for entry in self.bad).most_common())


def verify_sets(
    chosen: ChosenSets, *, deep: bool, workers: int | None, begin: Callable[[str], Progress]
) -> list[VerifiedSet]:
    """Indexes and reads each set.

    Args:
        chosen: the sets.
        deep: decode every image.
        workers: processes; None = one per core.
        begin: begins the progress of a set.

    Raises:
        OSError: a shard's size cannot be asked for, or its headers not be read.
        UserError: a shard is missing, a side file makes no sense, or classes have no names.
    """
    image = size_of_images(chosen) if deep else _USUAL
    how = [
        Verification(
            stream=one.stream,
            captions=chosen.captions(one),
            deep=deep,
            image=image,
            max_pixels=chosen.max_pixels,
            settings=replace(chosen.settings, cache_dir=None),  # the shards, not what was kept
            folder=chosen.index_dir,
        )
        for one in chosen.sets
    ]
    indexed = index_sets(chosen, headers=False, workers=workers, begin=begin)
    verified = [
        VerifiedSet(
            chosen=one,
            indexed=found,
            verdicts=tuple(
                verify_shards(
                    found.summaries, way, workers=workers, progress=begin(f"reading {one.name}")
                )
            ),
        )
        for one, way, found in zip(chosen.sets, how, indexed, strict=True)
    ]
    if all(verdict.is_known for one in verified for verdict in one.verdicts):
        for one, way in zip(verified, how, strict=True):
            forget_verdicts(one.indexed.summaries, way)
    return verified


def size_of_images(chosen: ChosenSets) -> ImageSpec:
    """The size that training brings images to; the usual one where no model is known yet."""
    if chosen.model is None:
        return _USUAL
    with quick_imports():  # not above: open_clip takes seconds
        from dist_erase.models.preprocess import image_spec_of
        from dist_erase.models.resolve import resolve

    try:
        return image_spec_of(resolve(chosen.model.architecture, chosen.model.pretrained))
    except UserError:  # a model that is yet to be trained or fetched does not matter for shards
        return _USUAL


def write_bad(path: Path, verified: Sequence[VerifiedSet]) -> None:
    """What cannot be used, one JSON object a line; an empty file if all can."""
    lines = [json.dumps(asdict(entry)) + "\n" for one in verified for entry in one.bad]
    write_text(path, "".join(lines))


def refuse_bad(verified: Sequence[VerifiedSet], quarantine: Path | None) -> None:
    """Raises UserError with counts and what to do, unless all sets are sound."""
    at_fault = [one for one in verified if one.bad]
    if not at_fault:
        return
    lines = [f"  {one.chosen.name}: {_in_words(one)}" for one in at_fault]
    listed = f"They are listed in {quarantine}." if quarantine else "--quarantine FILE lists them."
    problem = "\n".join(["not everything can be used:", *lines, ""])
    raise UserError("data verify", problem, " ".join([listed, *_mends(at_fault)]))


def _in_words(one: VerifiedSet) -> str:
    shards = [entry for entry in one.bad if entry.index < 0]
    words = []
    if one.bad_samples:
        counts = Counter(entry.reason for entry in one.bad if entry.index >= 0)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common())
        words.append(f"{one.bad_samples:,} of {one.indexed.samples:,} samples ({reasons})")
    if shards:
        first = shards[0]
        number = "1 shard" if len(shards) == 1 else f"{len(shards):,} shards"
        words.append(f"{number} as a whole (first {first.shard}: {first.detail})")
    return "; ".join(words)


def _mends(at_fault: Sequence[VerifiedSet]) -> list[str]:
    mends = []
    if any(entry.reason == UNREADABLE for one in at_fault for entry in one.bad):
        mends.append("What could not be read is tried again by the same command.")
    mends.append("Repair or remove them")
    streamed = [one for one in at_fault if one.chosen.max_corrupt_fraction is not None]
    uncovered = [one for one in streamed if not _is_covered(one)]
    if uncovered:
        shares = [one.bad_samples / one.indexed.samples for one in uncovered if one.indexed.samples]
        needed = max(map(_rounded_up, shares), default=1.0)
        mends[-1] += (
            f", or set data.max_corrupt_fraction to {needed:g} or more: training then replaces "
            "them."
            if needed < 1
            else "."
        )
    elif streamed:
        mends[-1] += "; data.max_corrupt_fraction already lets training replace them."
    else:
        mends[-1] += "."
    if any(one.chosen.max_corrupt_fraction is None for one in at_fault):
        mends.append("Sets of data.eval are read in full, so they must be sound.")
    return mends


def _is_covered(one: VerifiedSet) -> bool:
    fraction = one.chosen.max_corrupt_fraction or 0.0
    return fraction > 0 and one.bad_samples <= fraction * one.indexed.samples


def _rounded_up(share: float) -> float:
    """To two digits; a set with a fault but no bad sample needs any number above 0."""
    if share == 0:
        return 0.001
    unit = 10.0 ** (math.floor(math.log10(share)) - 1)
    return round(min(1.0, math.ceil(share / unit) * unit), 12)
