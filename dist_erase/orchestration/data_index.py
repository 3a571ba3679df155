"""`dist-erase data index`: all sets of a run, and one message for all that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dist_erase.data.counting import Progress
from dist_erase.data.indexing import IndexedSet, index_shards
from dist_erase.errors import UserError
from dist_erase.orchestration.sets import ChosenSets

_LISTED = 20


def index_sets(
    chosen: ChosenSets,
    *,
    headers: bool,
    workers: int | None,
    begin: Callable[[str], Progress],
) -> list[IndexedSet]:
    """Indexes each set.

    Args:
        chosen: the sets.
        headers: walk over headers also where a side file says the count.
        workers: processes that walk; None = one per core.
        begin: begins the progress of a set.

    Raises:
        OSError: a read failed.
        UserError: a shard is missing, or a side file makes no sense.
    """
    return [
        index_shards(
            one.source,
            name=one.name,
            settings=chosen.settings,
            cache_dir=chosen.index_dir,
            seed=chosen.seed,
            headers=headers,
            workers=workers,
            progress=begin(f"indexing {one.name}"),
        )
        for one in chosen.sets
    ]


def refuse_faults(chosen: ChosenSets, indexed: Sequence[IndexedSet]) -> None:
    """Raises UserError that lists all faulty shards of strict sets and all wrong side files."""
    faults = list(
        dict.fromkeys(
            fault
            for one, found in zip(chosen.sets, indexed, strict=True)
            if not one.tolerant
            for fault in found.faults
        )
    )
    wrong = list(dict.fromkeys(text for found in indexed for text in found.wrong_side_files))
    if not faults and not wrong:
        return
    heads, mends = [], []
    if faults:
        heads.append(_number(faults, "shard is faulty", "shards are faulty"))
        mends.append(
            "Make or copy such shards again; of training sets, data.max_corrupt_fraction above 0 "
            "leaves out what is unusable."
        )
    if wrong:
        heads.append(_number(wrong, "side file is wrong", "side files are wrong"))
        mends.append("Make such side files again or remove them.")
    listed = [f"  {text}" for text in [*faults, *wrong]]
    if len(listed) > _LISTED:
        rest = f"  … and {len(listed) - _LISTED:,} more; --json lists all."
        listed = [*listed[:_LISTED], rest]
    problem = "\n".join([" and ".join(heads) + ":", *listed, ""])
    raise UserError("data index", problem, " ".join(mends))


def _number(found: Sequence[str], one: str, many: str) -> str:
    return f"{len(found):,} {one if len(found) == 1 else many}"


def as_json(chosen: ChosenSets, indexed: Sequence[IndexedSet]) -> dict[str, Any]:
    """The same facts for machines."""
    return {
        "index_dir": str(chosen.index_dir),
        "sets": [
            {
                "name": found.name,
                "shards": len(found.summaries),
                "samples": found.samples,
                "bytes": found.bytes,
                "counted_by": found.origins,
                "tolerant": one.tolerant,
                "changed": list(found.changed),
                "faults": list(found.faults),
                "wrong_side_files": list(found.wrong_side_files),
            }
            for one, found in zip(chosen.sets, indexed, strict=True)
        ],
    }
