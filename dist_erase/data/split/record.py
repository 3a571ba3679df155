"""What decides a split, and what it found, for dataset.json and the lists beside it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from dist_erase.data.split.judging import Verdict
from dist_erase.data.split.plan import Plan
from dist_erase.data.split.pool import Pool
from dist_erase.data.split.request import SplitRequest
from dist_erase.data.split.review import NEAR, Namer, write_near_duplicates
from dist_erase.data.split.write import Written
from dist_erase.errors import UserError
from dist_erase.storage import sha256_of_file, write_json, write_text

_LEFT_OUT = "left_out.csv"


def survey_rules(request: SplitRequest, pool: Pool) -> dict[str, Any]:
    """All that the first pass depends on."""
    options = request.options
    return {
        **_forget_rules(request, pool),
        "holdout_association_labels": options.association.labels,
        "holdout_association_regex": options.association.regexes,
        "holdout_identity_labels": options.identity.labels,
        "holdout_identity_regex": options.identity.regexes,
    }


def review_rules(request: SplitRequest, pool: Pool) -> dict[str, Any]:
    """All that the rows of a review depend on."""
    concept = request.options.concept
    return {
        **_forget_rules(request, pool),
        "concept": concept.prompts if concept else None,
        "against": concept.against if concept else None,
        "threshold": concept.threshold if concept else None,
        "top_k": concept.top_k if concept else None,
        "near": request.options.near,
        "teacher": request.teacher.fingerprint if request.teacher else None,
    }


def _forget_rules(request: SplitRequest, pool: Pool) -> dict[str, Any]:
    options, source = request.options, request.source
    return {
        "pool": pool.fingerprint,
        "caption": source.caption,
        "templates": source.templates if source.caption == "cls" else None,
        "classes": list(request.classes),
        "forget_labels": options.forget.labels,
        "forget_regex": options.forget.regexes,
        "forget_ids": _sha256(options.forget_ids, "--forget-ids"),
    }


def all_rules(request: SplitRequest, pool: Pool) -> dict[str, Any]:
    """All that the shards depend on: the options of dataset.json."""
    options, reviewing = request.options, request.reviewing
    accept = reviewing.accept if reviewing else None
    return {
        **survey_rules(request, pool),
        **review_rules(request, pool),
        "decisions": _sha256(accept, "--accept"),
        "eval_fraction": options.eval_fraction,
        "reserve_fraction": options.reserve_fraction,
        "holdout_fraction": options.holdout_fraction,
        "seed": options.seed,
        "shard_size": options.shard_size,
    }


def findings(
    pool: Pool, namer: Namer, plan: Plan, written: Written, verdict: Verdict, request: SplitRequest
) -> dict[str, Any]:
    """The further fields of dataset.json."""
    disjoint: dict[str, Any] = {
        "by": "first 64 bits of BLAKE2b of the encoded image",
        "checked": written.images,
        "shared": 0,
    }
    if request.options.near is not None:
        disjoint["near"] = {
            "by": "cosine of the teacher's image embeddings with those of the forget images",
            "below": request.options.near,
            "checked": len(namer.units) - len(verdict.unusable),
            "kept_apart_by_review": sum(one.kept_apart for one in verdict.near),
        }
    return {
        "pool": [{"path": shard.path, "samples": len(shard)} for shard in pool.shards],
        "images": len(namer.units) - len(verdict.unusable),
        "moved_to_forget": plan.moved,
        "left_out": dict(Counter(reason for _, reason, _ in _left_out(namer, verdict))),
        "damaged_shards": len(namer.survey.faults),
        "decisions_changed": verdict.changed,
        "disjoint": disjoint,
    }


def write_lists(folder: Path, namer: Namer, verdict: Verdict, request: SplitRequest) -> None:
    """Writes classes.json, near_duplicates.csv and left_out.csv, where there is something."""
    if request.classes:
        write_json(folder / "classes.json", list(request.classes))
    if request.options.near is not None:
        write_near_duplicates(folder / NEAR, verdict.near, namer)
    left_out, faults = _left_out(namer, verdict), namer.survey.faults
    if left_out or faults:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("id", "key", "reason", "detail"))
        for number, detail in faults.items():
            writer.writerow((namer.names.shard(number), "", "shard", detail))
        for position, reason, detail in left_out:
            row = (namer.names.name(position), namer.names.key(position), reason, detail)
            writer.writerow(row)
        write_text(folder / _LEFT_OUT, stream.getvalue())


def _left_out(namer: Namer, verdict: Verdict) -> list[tuple[int, str, str]]:
    """(position, reason, detail) of every sample that is in no set."""
    rows = [(position, *why) for position, why in namer.survey.dropped.items()]
    if verdict.unusable:
        of_sample = namer.units.of_sample.tolist()
        rows += [
            (position, "image", verdict.unusable[unit])
            for position, unit in enumerate(of_sample)
            if unit in verdict.unusable
        ]
    return sorted(rows)


def _sha256(path: Path | None, where: str) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UserError(where, f"there is no file {path}.", "Mend the path.")
    return sha256_of_file(path)
