"""`dist-erase data verify`: every byte of a set read as a run reads it, and what cannot be used.

Each shard's verdict is kept until all shards have one, so that an interrupted verification goes on
where it was; a finished one leaves nothing behind, and the next reads everything again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dist_erase.batch import ImageSpec
from dist_erase.config.secrets import public
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.counting import Progress
from dist_erase.data.decode import check_size, decode_image
from dist_erase.data.read import RawSample
from dist_erase.data.sample import image_member
from dist_erase.data.scan import iterate_raw
from dist_erase.data.scanned import scan_kept
from dist_erase.data.set_index import SetIndex, ShardRef
from dist_erase.data.source import SourceSettings
from dist_erase.data.summaries import ShardSummary, cache_name
from dist_erase.data.workers import ordered_map
from dist_erase.errors import BadSampleError, UserError
from dist_erase.storage import write_text

SHARD = "shard"  # the reason of an entry that stands for a whole shard; its index is -1
UNREADABLE = "unreadable"  # the same, for a read that failed: nothing is known of the content
_VERSION = 2  # of the verdicts on disk
# Every pixel is decoded, whatever size the image is then brought to.
_SMALL = ImageSpec(height=32, width=32, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode="squash")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BadEntry:
    """A sample, or a whole shard, that cannot be used: the fields of `batch.Quarantined`."""

    stream: str
    shard: str
    index: int
    key: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found in one shard.

    Attributes:
        samples: that it holds.
        bad: what cannot be used.
    """

    path: str
    samples: int
    bad: tuple[BadEntry, ...]

    @property
    def is_known(self) -> bool:
        """Whether the shard could be read."""
        return all(entry.reason != UNREADABLE for entry in self.bad)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the samples of a set are held against.

    Attributes:
        stream: how the set is called in entries.
        deep: decode every image.
        image: of the model; a long and thin image may be too large once brought to its size.
        max_pixels: a larger image cannot be used.
        folder: where header scans are kept, and verdicts meanwhile.
    """

    stream: str
    captions: CaptionPlan
    deep: bool
    image: ImageSpec
    max_pixels: int
    settings: SourceSettings
    folder: Path


def verify_shards(
    shards: Sequence[ShardSummary],
    how: Verification,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Reads shards whole, many at once, and gives their verdicts in order.

    Args:
        shards: as they were counted a moment ago.
        how: what is looked at.
        workers: processes; None = one per core.
        progress: told how many shards are done.
    """
    jobs = [(shard, how) for shard in shards]
    processes = min(workers or os.cpu_count() or 1, len(jobs))
    verdicts: list[Verdict] = []
    alone = processes < 2
    for verdict in ordered_map(_verify, jobs, workers=0 if alone else processes, preload=__name__):
        verdicts.append(verdict)
        if progress is not None:
            progress(len(verdicts), len(jobs))
    return verdicts


def forget_verdicts(shards: Sequence[ShardSummary], how: Verification) -> None:
    """Removes what is kept of a finished verification."""
    for shard in shards:
        _kept(shard.path, how).unlink(missing_ok=True)


def _verify(job: tuple[ShardSummary, Verification]) -> Verdict:
    shard, how = job
    found = _load(shard, how)
    if found is None:
        bad = tuple(_bad_entries(shard, how))
        found = Verdict(path=shard.path, samples=shard.count, bad=bad)
        if found.is_known:
            _keep(shard, how, found)
    return found


def _bad_entries(shard: ShardSummary, how: Verification) -> Iterator[BadEntry]:
    index = SetIndex(
        shards=(ShardRef(summary=shard),),
        settings=how.settings,
        cache_dir=how.folder,
        tolerant=True,
    )

    def whole(reason: str, detail: str) -> BadEntry:
        return BadEntry(
            stream=how.stream,
            shard=public(shard.path),
            index=-1,
            key="",
            reason=reason,
            detail=detail,
        )

    try:
        index.open(0)
        # Of a shard that a side file counted, nothing else was known.
        problem = str(scan_kept(shard.path, index.source, shard.stat, how.folder).problem[0])
        if problem:
            yield whole(SHARD, problem)
        elif not shard.count:
            yield whole(SHARD, "it holds no sample.")
        for position, raw in iterate_raw(index):
            error = raw if isinstance(raw, BadSampleError) else _error(raw, how)
            if error is not None:
                _, number, key = index.label(position)
                yield BadEntry(
                    stream=how.stream,
                    shard=public(shard.path),
                    index=number,
                    key=key,
                    reason=error.reason,
                    detail=error.detail,
                )
    except UserError as error:  # not what was counted
        yield whole(SHARD, error.problem)
    except OSError as error:
        yield whole(UNREADABLE, str(error))


def _error(raw: RawSample, how: Verification) -> BadSampleError | None:
    """What training would find, in its order."""
    try:
        encoded = image_member(raw)
        how.captions.caption(raw)
        if how.deep:
            decode_image(encoded, _SMALL, max_pixels=how.max_pixels)
            check_size(encoded, how.image, max_pixels=how.max_pixels)
        elif not encoded:
            raise BadSampleError("image", "it has no content")
    except BadSampleError as error:
        return error
    return None


def _kept(path: str, how: Verification) -> Path:
    depth = "deep" if how.deep else "whole"
    return how.folder / f"{cache_name(path)}.{depth}.json"


def _identity(shard: ShardSummary, how: Verification) -> list[Any]:
    plan = asdict(how.captions)
    against = [how.stream, how.max_pixels, json.dumps(plan), json.dumps(asdict(how.image))]
    return [_VERSION, shard.size, shard.version, shard.count, *against]


def _keep(shard: ShardSummary, how: Verification, verdict: Verdict) -> None:
    row = {"identity": _identity(shard, how), "bad": [asdict(entry) for entry in verdict.bad]}
    write_text(_kept(shard.path, how), json.dumps(row))


def _load(shard: ShardSummary, how: Verification) -> Verdict | None:
    path = _kept(shard.path, how)
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("the kept verdict %s cannot be read: %s", path, error)
        return None
    if row["identity"] != _identity(shard, how):
        return None
    bad = tuple(BadEntry(**entry) for entry in row["bad"])
    return Verdict(path=shard.path, samples=shard.count, bad=bad)
