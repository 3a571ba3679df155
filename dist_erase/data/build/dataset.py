"""A built data set's folder: its record, and what may be replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dist_erase.data.stage import clear_stage
from dist_erase.errors import UserError
from dist_erase.storage import write_json

_FORMAT_VERSION = 1
_RECORD = "dataset.json"
_OWN_NAMES = {
    "train",
    "eval",
    "reserve",
    "classes.json",
    "near_duplicates.csv",
    "left_out.csv",
    _RECORD,
}


@dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """What a data set holds; all but the first two fields stand in `dataset.json`.

    Attributes:
        out: the data set's folder.
        up_to_date: nothing was written, since the same was there.
        builder: digits, cifar100, folder or split.
        options: everything that decides the content.
        samples: pairs by set, `train/forget` and so on.
        shards: size in bytes and SHA-256 of each shard by its path in the folder.
        dropped_from_retain: pairs left out because their image is in a forget set.
        train_images_in_eval: eval pairs whose image is also in train (kept).
        facts: what else a builder has to say; further fields of `dataset.json`.
    """

    out: Path
    up_to_date: bool
    builder: str
    options: dict[str, Any]
    samples: dict[str, int]
    shards: dict[str, dict[str, int | str]]
    dropped_from_retain: int
    train_images_in_eval: int
    facts: dict[str, Any] = field(default_factory=dict)


def write_record(folder: Path, summary: BuildSummary) -> None:
    """Writes `dataset.json` into `folder`."""
    record = asdict(summary)
    del record["out"], record["up_to_date"]
    facts = record.pop("facts")
    write_json(folder / _RECORD, {"format_version": _FORMAT_VERSION, **record, **facts})


def find_finished(
    out: Path, *, builder: str, options: Mapping[str, Any], overwrite: bool
) -> BuildSummary | None:
    """Returns the data set at `out` if it was built with these options; None if it must be built.

    Raises:
        UserError: `out` holds something else and `overwrite` is off, or holds files that are not
            ours and would be lost.
    """
    if out.is_file():
        raise UserError(str(out), "is a file.", "Name a folder.")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not names:
        return None
    foreign = sorted(names - _OWN_NAMES)
    if _RECORD not in names or (overwrite and foreign):
        raise UserError(
            str(out),
            f"is not empty and holds what is not ours ({(foreign or sorted(names))[0]}).",
            "Name another folder.",
        )
    if overwrite:
        return None
    summary = _read_record(out)
    # Through JSON once, so that tuples and lists compare equal.
    wanted = json.loads(json.dumps({"builder": builder, **options}))
    found = {"builder": summary.builder, **summary.options}
    different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if different:
        key = different[0]
        raise UserError(
            str(out),
            f"holds a data set built with other options ({', '.join(different)}: "
            f"{found.get(key)!r} there, {wanted.get(key)!r} now).",
            "Replace it with --overwrite, or name another folder.",
        )
    for name, shard in summary.shards.items():
        if not (out / name).is_file() or (out / name).stat().st_size != shard["bytes"]:
            raise UserError(
                str(out / name),
                "is missing or has another size than when it was built.",
                "Rebuild with --overwrite.",
            )
    return summary


def find_built(
    out: Path, *, builder: str, options: Mapping[str, Any], overwrite: bool
) -> BuildSummary | None:
    """`find_finished` for `data build`; nothing of a killed build stays beside a finished one."""
    finished = find_finished(out, builder=builder, options=options, overwrite=overwrite)
    if finished:
        clear_stage(out, "build")
    return finished


def _read_record(out: Path) -> BuildSummary:
    try:
        record = json.loads((out / _RECORD).read_text(encoding="utf-8"))
        if record.pop("format_version") != _FORMAT_VERSION:
            raise ValueError("written by another version of dist-erase")
        own = {each.name for each in fields(BuildSummary)}
        facts = {name: record.pop(name) for name in sorted(record.keys() - own)}
        return BuildSummary(out=out, up_to_date=True, facts=facts, **record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            str(out / _RECORD), f"cannot be used ({error}).", "Rebuild with --overwrite."
        ) from error
