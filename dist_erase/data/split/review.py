"""What a person is asked about: one row an image, in decisions.csv."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.split.ids import SampleNames
from dist_erase.data.split.near_duplicates import NearDuplicate
from dist_erase.data.split.survey import Survey
from dist_erase.data.split.units import Units
from dist_erase.errors import UserError
from dist_erase.storage import write_json, write_text

DECISIONS, NEAR, RECORD, SHEET = "decisions.csv", "near_duplicates.csv", "review.json", "sheet.html"
_COLUMNS = ("decision", "id", "why", "score", "near", "cosine", "copies", "key", "captions")
_NEAR_COLUMNS = ("id", "near", "cosine", "moved", "copies", "key", "captions")
_BELOW = 200  # rows below the cut, at least; else as many as above it


@dataclass(frozen=True)
class Candidate:
    """An image that is to be decided on.

    Attributes:
        unit: the image.
        proposed: what happens if nobody objects.
        why: it was scored, or resembles a forget image.
        score: by the concept; None without one.
        near: the forget image that it resembles, None for `concept`.
        cosine: with that one.
    """

    unit: int
    proposed: Literal["in", "out"]
    why: Literal["concept", "near-duplicate"]
    score: float | None
    near: int | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Namer:
    """Units as people see them."""

    names: SampleNames
    units: Units
    survey: Survey

    def id(self, unit: int) -> str:
        """`SHARD.tar#N` of the first sample."""
        return self.names.name(int(self.units.firsts[unit]))

    def key(self, unit: int) -> str:
        """The key of the first sample."""
        return self.names.key(int(self.units.firsts[unit]))

    def captions(self, unit: int) -> str:
        """The captions of the first sample, cut."""
        return self.survey.caption(int(self.units.firsts[unit]))


def list_candidates(
    scores: NDArray[np.float32] | None,
    chosen: NDArray[np.bool_],
    by_rule: NDArray[np.bool_],
    near: Sequence[NearDuplicate],
) -> list[Candidate]:
    """All that are in by score, some below the cut, and the near-duplicates.

    Args:
        scores: float32 [U]; None without a concept.
        chosen: bool [U], in by score and no other rule.
        by_rule: bool [U], in by another rule, which is not up for review.
        near: near-duplicates of those.
    """
    resembling = {one.unit for one in near}
    listed: list[Candidate] = []
    if scores is not None:
        ranked = np.argsort(-scores, kind="stable")
        ranked = ranked[np.isfinite(scores[ranked]) & ~by_rule[ranked]]
        above = int(chosen.sum())
        for unit in ranked[: above + max(_BELOW, above)].tolist():
            if unit not in resembling:
                proposed: Literal["in", "out"] = "in" if chosen[unit] else "out"
                listed.append(Candidate(unit, proposed, "concept", float(scores[unit])))
    for one in sorted(near, key=lambda one: -one.cosine):
        score = None if scores is None else float(scores[one.unit])
        listed.append(Candidate(one.unit, "in", "near-duplicate", score, one.anchor, one.cosine))
    return listed


def write_decisions(
    folder: Path, candidates: Sequence[Candidate], namer: Namer, identity: str
) -> None:
    """Writes decisions.csv and beside it the record that a later call checks.

    Args:
        folder: of the review.
        candidates: the rows.
        namer: of the pool.
        identity: hash of everything that the rows follow from.
    """
    captions = _in_pool_order([one.unit for one in candidates], namer)
    rows = [
        (
            one.proposed,
            namer.id(one.unit),
            one.why,
            "" if one.score is None else f"{one.score:.4f}",
            "" if one.near is None else namer.id(one.near),
            "" if one.cosine is None else f"{one.cosine:.4f}",
            int(namer.units.copies[one.unit]),
            namer.key(one.unit),
            captions[one.unit],
        )
        for one in candidates
    ]
    text = _csv(_COLUMNS, rows)
    write_text(folder / DECISIONS, text)
    write_json(folder / RECORD, {"identity": identity, "decisions_sha256": _sha256(text)})


def write_near_duplicates(path: Path, near: Sequence[NearDuplicate], namer: Namer) -> None:
    """Lists the near-duplicates, the most similar ones first."""
    captions = _in_pool_order([one.unit for one in near], namer)
    rows = [
        (
            namer.id(one.unit),
            namer.id(one.anchor),
            f"{one.cosine:.4f}",
            "no" if one.kept_apart else "yes",
            int(namer.units.copies[one.unit]),
            namer.key(one.unit),
            captions[one.unit],
        )
        for one in sorted(near, key=lambda one: -one.cosine)
    ]
    write_text(path, _csv(_NEAR_COLUMNS, rows))


def refuse_lost_edits(folder: Path, *, overwrite: bool) -> None:
    """Raises UserError where writing the review again would lose somebody's decisions."""
    path = folder / DECISIONS
    if not folder.exists() or overwrite:
        return
    try:
        written = json.loads((folder / RECORD).read_text())["decisions_sha256"]
        edited = path.exists() and _sha256(path.read_text(encoding="utf-8")) != written
    except (OSError, ValueError, KeyError):
        if not any(folder.iterdir()):
            return
        raise UserError(
            str(folder), "is not empty and holds no review of ours.", "Give another --review."
        ) from None
    if edited:
        raise UserError(
            str(path),
            "was edited, and would be written anew.",
            f"Go on with --accept {path}, or give up the edits with --overwrite.",
        )


def read_decisions(
    path: Path, candidates: Sequence[Candidate], namer: Namer, identity: str
) -> dict[int, bool]:
    """Reads what a person decided.

    Args:
        path: decisions.csv; review.json stands beside it.
        candidates: the rows that it must have.
        namer: of the pool.
        identity: hash of everything that the rows follow from.

    Returns:
        unit → in the forget set?

    Raises:
        UserError: names the line and what is wrong with it.
    """
    _check_record(path, identity)
    wanted = {namer.id(one.unit): one.unit for one in candidates}
    decided: dict[int, bool] = {}
    lines: dict[int, int] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        name, decision = (row["id"] or "").strip(), (row["decision"] or "").strip().lower()
        if name not in wanted:
            raise UserError(
                where,
                f"the id {name!r} was not up for review.",
                "Change the column `decision` only; add images with --forget-ids.",
            )
        unit = wanted[name]
        if unit in decided:
            raise UserError(where, f"{name} stands in line {lines[unit]} too.", "Remove one.")
        if decision not in ("in", "out"):
            raise UserError(where, f"the decision is {row['decision']!r}.", "Write in or out.")
        decided[unit], lines[unit] = decision == "in", line
    missing = [name for name, unit in wanted.items() if unit not in decided]
    if missing:
        raise UserError(
            str(path),
            f"{len(missing)} of {len(wanted)} rows are missing, the first is {missing[0]}.",
            "Write out instead of removing a row; the review can be written again.",
        )
    return decided


def _check_record(path: Path, identity: str) -> None:
    record = path.parent / RECORD
    mend = "Run without --accept to write a review, then accept that."
    if not path.is_file():
        raise UserError("--accept", f"there is no file {path}.", mend)
    try:
        reviewed = json.loads(record.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("--accept", f"{record} is missing or damaged.", mend) from None
    if reviewed != identity:
        raise UserError(
            "--accept", f"{path} was written for another pool, model or other options.", mend
        )


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row); spreadsheets put a byte-order mark in front, which is left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            str(path), f"is not UTF-8 ({error}).", "Save it as CSV in UTF-8."
        ) from error
    reader = csv.DictReader(io.StringIO(text))
    lacking = [name for name in ("decision", "id") if name not in (reader.fieldnames or ())]
    if lacking:
        raise UserError(
            f"{path}, line 1",
            f"there is no column {' and '.join(lacking)}.",
            f"Keep the first line, with commas: {','.join(_COLUMNS)}",
        )
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}", f"{error}.", "Mend it.") from error


def _in_pool_order(units: Sequence[int], namer: Namer) -> dict[int, str]:
    """Captions by unit, read from one shard's survey after the other."""
    return {unit: namer.captions(unit) for unit in sorted(units)}


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
