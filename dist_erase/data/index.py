"""Which samples a set holds, shard by shard: counted, checked, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.secrets import public
from dist_erase.config.source import SourceConfig
from dist_erase.data.counting import Progress, summarise
from dist_erase.data.draws import SUBSET, permutation
from dist_erase.data.scan_tar import IMAGE_SUFFIXES
from dist_erase.data.set_index import SetIndex, ShardRef
from dist_erase.data.shards import Groups, choose_shards, expand_shards
from dist_erase.data.source import ShardSource, SourceSettings, make_source
from dist_erase.data.summaries import ShardSummary
from dist_erase.errors import UserError

# A subset is drawn in runs of neighbours: of a huge set, few shards are then opened.
_MOST_TOGETHER, _FEWEST_RUNS = 64, 64
_MEND = "Make or copy the shard again, or set data.max_corrupt_fraction above 0 to go on without."


def index_set(
    source: SourceConfig,
    *,
    where: str,
    settings: SourceSettings | None = None,
    cache_dir: Path | None = None,
    seed: int = 0,
    tolerant: bool = False,
    trust: bool = False,
    unwritten: bool = False,
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
        unwritten: see `SetIndex`.
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
        unwritten=unwritten,
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
