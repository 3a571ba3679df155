"""Which samples a set holds, shard by shard; where they lie is found when a shard is opened.

The order needs no more than the number of samples in each shard. A shard's byte ranges are
scanned when it is first opened, and kept.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.data import SourceConfig
from dist_erase.config.secrets import public
from dist_erase.data.counting import Progress, ShardSummary, summarise
from dist_erase.data.draws import SUBSET, permutation
from dist_erase.data.scan_tar import (
    IMAGE_SUFFIXES,
    TRUNCATED,
    ScannedShard,
)
from dist_erase.data.scanned import scan_kept
from dist_erase.data.shards import Groups, choose_shards, expand_shards
from dist_erase.data.source import ShardSource, SourceSettings, is_remote, make_source
from dist_erase.errors import UserError

_OPEN_SHARDS = 256  # byte ranges kept at hand by each process; 10,000 samples are half a megabyte
# A subset is drawn in runs of neighbours: of a huge set, few shards are then opened.
_MOST_TOGETHER, _FEWEST_RUNS = 64, 64
_MEND = "Make or copy the shard again, or set data.max_corrupt_fraction above 0 to go on without."


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardIndex:
    """The chosen samples of one shard, in file order; all arrays have one entry a sample.

    Attributes:
        path: of the tar file.
        keys: bytes, UTF-8; a label only (img2dataset's keys start at 0 in every set).
        starts, ends: int64, the byte range of the sample's members, headers included.
        image_starts, image_sizes: int64, the byte range of the image's content; size -1 where
            there is none.
        faults: int8, see `scan_tar`.
        numbers: int64, the sample's number in the whole shard.
    """

    path: str
    keys: NDArray[np.bytes_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    image_starts: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    faults: NDArray[np.int8]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardRef:
    """One shard of a set, not opened.

    Attributes:
        rows: numbers of the chosen samples in the shard, int64; None = all.
    """

    summary: ShardSummary
    rows: NDArray[np.int64] | None = None

    @property
    def path(self) -> str:
        """Of the tar file."""
        return self.summary.path

    def __len__(self) -> int:
        return self.summary.count if self.rows is None else len(self.rows)


@dataclass(frozen=True, eq=False, kw_only=True)
class SetIndex:
    """All samples of a set; a sample's position is its ordinal over the shards.

    Travels to data workers; each opens the shards that it needs.

    Attributes:
        settings: how shards are read.
        cache_dir: where header scans are kept; None = nowhere.
        tolerant: faults of single samples are left to be met when they are read.
        faults: what is wrong with whole shards, in words (only if tolerant).
        mix: see `order.Order`.
    """

    shards: tuple[ShardRef, ...]
    mix: tuple[tuple[int, float], ...] = ()
    settings: SourceSettings = field(default_factory=SourceSettings)
    cache_dir: Path | None = None
    tolerant: bool = False
    faults: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples per shard."""
        return tuple(len(shard) for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of the shards, in proportion to the samples chosen of each."""
        return sum(
            shard.summary.size * len(shard) // max(1, shard.summary.count) for shard in self.shards
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hex BLAKE2b of what tells sets apart, without their paths.

        Of each shard: size, count, chosen samples and, where its headers were read, the keys and
        the places and sizes of all images.
        """
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            known = (shard.summary.size, shard.summary.count, shard.summary.content)
            digest.update(f"{known}\n".encode())
            if shard.rows is not None:
                digest.update(shard.rows.tobytes())
        return digest.hexdigest()

    def locate(self, position: int) -> tuple[int, int]:
        """Position → (shard number, row in that `ShardIndex`)."""
        shard_no = int(np.searchsorted(self._firsts, position, side="right")) - 1
        return shard_no, int(position - self._firsts[shard_no])

    def label(self, position: int) -> tuple[str, int, str]:
        """Position → (shard path, number in the shard, key), as people name a sample."""
        shard_no, row = self.locate(position)
        shard = self.open(shard_no)
        return (
            public(shard.path),
            int(shard.numbers[row]),
            bytes(shard.keys[row]).decode(errors="replace"),
        )

    def open(self, shard_no: int) -> ShardIndex:
        """The byte ranges of a shard's samples.

        Raises:
            OSError: a read failed.
            UserError: the shard is not what was counted, or has a fault and the set is not
                tolerant.
        """
        opened = self._opened
        with self._lock:
            found = opened.get(shard_no)
        if found is None:
            found = self._open(self.shards[shard_no])
            with self._lock:  # reads ahead open shards from other threads
                opened[shard_no] = found
                while len(opened) > _OPEN_SHARDS:
                    del opened[next(iter(opened))]  # the oldest
        return found

    def only(self, shard_no: int, rows: NDArray[np.int64] | None = None) -> SetIndex:
        """A set of one of the shards, or of some rows of it."""
        ref = self.shards[shard_no]
        if rows is not None:
            ref = replace(ref, rows=rows if ref.rows is None else ref.rows[rows])
        return replace(self, shards=(ref,), mix=(), faults=())

    def _open(self, ref: ShardRef) -> ShardIndex:
        stat = self.source.stat(ref.path)
        # Copies of a local shard on other nodes have another time of change; etags are the same.
        if stat.size != ref.summary.size or (is_remote(ref.path) and stat != ref.summary.stat):
            raise UserError(
                public(ref.path),
                f"the shard has changed since it was indexed ({ref.summary.size} bytes, version "
                f"{ref.summary.version} then; {stat.size} bytes, {stat.version} now).",
                "Leave shards alone while a run reads them; start again to index the new file.",
            )
        scanned = scan_kept(ref.path, self.source, ref.summary.stat, self.cache_dir)
        if not self.tolerant:
            scanned.check(ref.path)
        scanned = _as_counted(scanned, ref.summary)
        rows = np.arange(len(scanned)) if ref.rows is None else ref.rows
        return ShardIndex(
            path=ref.path,
            keys=scanned.keys[rows],
            starts=scanned.starts[rows],
            ends=scanned.ends[rows],
            image_starts=scanned.image_starts[rows],
            image_sizes=scanned.image_sizes[rows],
            faults=scanned.faults[rows],
            numbers=rows.astype(np.int64),
        )

    @cached_property
    def source(self) -> ShardSource:
        """What reads the shards, with connections of this process."""
        return make_source(self.settings)

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    @cached_property
    def _opened(self) -> dict[int, ShardIndex]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        return {k: value for k, value in vars(self).items() if k not in ("_opened", "_lock")}


def index_set(
    source: SourceConfig,
    *,
    where: str,
    settings: SourceSettings | None = None,
    cache_dir: Path | None = None,
    seed: int = 0,
    tolerant: bool = False,
    trust: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SetIndex:
    """Indexes a set; many processes may call it at once, with one `cache_dir`.

    Args:
        source: patterns, the caption's member and `max_samples`.
        where: configuration key of `source`, named in errors.
        settings: how shards are read.
        cache_dir: where counts and header scans are kept.
        seed: draws the subset that `max_samples` asks for.
        tolerant: leave truncated shards and single faulty samples to be met while reading.
        trust: take what is kept without looking whether shards have changed.
        workers: processes that walk over headers; None = one per core.
        progress: told how many shards are done.

    Raises:
        OSError: a read failed.
        UserError: a shard is missing, or the set is empty; unless tolerant, also a shard that is
            empty, truncated or no tar, or a sample without image or caption member; the message
            names the file.
    """
    settings = settings or SourceSettings()
    reader = make_source(settings)
    groups = shard_groups(source, reader, where=where, seed=seed)
    paths = [path for group in groups for path in group]
    summaries = summarise(
        paths, reader, folder=cache_dir, trust=trust, workers=workers, progress=progress
    )
    caption = source.caption.split(":")[0]
    faults = []
    for summary in summaries:
        problem = shard_problem(summary, caption, where)
        if problem is not None and not tolerant:
            raise problem
        if problem is not None:
            # Without the sample's key: run folders keep this after a purge.
            some = "some samples cannot be used; `dist-erase data verify` names them."
            faults.append(f"{public(summary.path)}: {summary.problem or some}")
    shards = [ShardRef(summary=summary) for summary in summaries]
    if not sum(map(len, shards)):
        raise UserError(f"{where}.shards", "no shard holds a sample.", _MEND)
    _check_some_captions(summaries, caption, where)
    mix = _mix(groups, source.weights)
    if source.max_samples is not None:
        shards, mix = _subset(shards, source.max_samples, seed), ()
    return SetIndex(
        shards=tuple(shards),
        mix=mix,
        settings=settings,
        cache_dir=cache_dir,
        tolerant=tolerant,
        faults=tuple(faults),
    )


def shard_groups(source: SourceConfig, reader: ShardSource, *, where: str, seed: int) -> Groups:
    """The shards that a set uses, pattern by pattern; raises UserError as `expand_shards` does."""
    groups = expand_shards(source.shards, where=f"{where}.shards", source=reader)
    return choose_shards(groups, source.max_shards, seed)


def _mix(groups: Groups, weights: list[float] | None) -> tuple[tuple[int, float], ...]:
    """Shards of each pattern, and how often their samples are seen beside the heaviest one's."""
    if weights is None:
        return ()
    return tuple((len(g), w / max(weights)) for g, w in zip(groups, weights, strict=True))


def shard_problem(summary: ShardSummary, caption: str, where: str) -> UserError | None:
    """The first thing that is known to be wrong with a shard; None if nothing is.

    Args:
        summary: of the shard.
        caption: suffix of the member that every sample must have.
        where: configuration key of the set.
    """
    if summary.problem:
        return UserError(public(summary.path), summary.problem, _MEND)
    if not summary.count:
        problem = "the shard is empty: it holds no KEY.SUFFIX member."
        return UserError(public(summary.path), problem, _MEND)
    if summary.duplicate:
        problem = f"sample {summary.duplicate} has a member twice."
        return UserError(public(summary.path), problem, _MEND)
    for suffixes, key in summary.members.items():
        missing = _missing_member(suffixes.split("\n"), caption)
        if missing:
            return UserError(
                where,
                f"shard {public(summary.path)}: sample {key} {missing}.",
                f"Add the member, remove the sample, or change {where}.caption.",
            )
    return None


def _missing_member(suffixes: list[str], caption: str) -> str | None:
    held = f" (it holds .{', .'.join(suffixes)})"
    if caption not in suffixes:
        return f"has no .{caption} member{held}"
    if not any(suffix in suffixes for suffix in IMAGE_SUFFIXES):
        return f"has no image member{held}"
    return None


def _check_some_captions(summaries: Sequence[ShardSummary], caption: str, where: str) -> None:
    """Even where single samples may lack it, a set without any caption is a mistake."""
    walked = [summary for summary in summaries if summary.members]
    suffixes = {name for s in walked for names in s.members for name in names.split("\n")}
    if walked and caption not in suffixes:
        raise UserError(
            where,
            f"no sample has a .{caption} member (they hold .{', .'.join(sorted(suffixes))}).",
            f"Change {where}.caption.",
        )


def _as_counted(scanned: ScannedShard, summary: ShardSummary) -> ScannedShard:
    """The scan with as many rows as were counted; what a cut file lacks is TRUNCATED."""
    lacking = summary.count - len(scanned)
    if lacking == 0:
        return scanned
    problem = str(scanned.problem[0])
    if lacking < 0 or not problem:
        raise UserError(
            public(summary.path),
            f"holds {len(scanned)} samples, but {summary.origin} says {summary.count}.",
            "Make that file again or remove it; then start again.",
        )
    end = int(scanned.ends[-1]) if len(scanned) else 0
    filler = {"keys": b"?", "starts": end, "ends": end, "image_starts": 0, "image_sizes": -1}
    filler |= {"codes": 0, "faults": TRUNCATED}
    columns = {}
    for name, value in filler.items():
        known = getattr(scanned, name)
        columns[name] = np.concatenate([known, np.full(lacking, value).astype(known.dtype)])
    return replace(scanned, **columns)


def _subset(shards: list[ShardRef], size: int, seed: int) -> list[ShardRef]:
    """`size` samples in runs of neighbours, drawn by seed, in file order; empty shards go."""
    counts = np.array([len(shard) for shard in shards])
    if size >= counts.sum():
        return shards
    together = max(1, min(_MOST_TOGETHER, size // _FEWEST_RUNS))
    runs = -(-counts // together)
    shard_of_run = np.repeat(np.arange(len(shards)), runs)
    within = np.arange(len(shard_of_run)) - np.repeat(np.cumsum(runs) - runs, runs)
    firsts = within * together
    lengths = np.minimum(together, counts[shard_of_run] - firsts)
    drawn = permutation(len(shard_of_run), seed, SUBSET)
    before = np.cumsum(lengths[drawn]) - lengths[drawn]
    drawn = drawn[before < size]
    kept = np.minimum(lengths[drawn], size - before[: len(drawn)])
    chosen: dict[int, list[NDArray[np.int64]]] = {}
    for run, length in zip(drawn, kept, strict=True):
        rows = np.arange(firsts[run], firsts[run] + length)
        chosen.setdefault(int(shard_of_run[run]), []).append(rows)
    return [
        ShardRef(summary=shards[number].summary, rows=np.sort(np.concatenate(chosen[number])))
        for number in sorted(chosen)
    ]
