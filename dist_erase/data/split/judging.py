"""What the teacher proposes and what a person makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.split import review
from dist_erase.data.split.concept import cut_scores, score_units
from dist_erase.data.split.embeddings import ImageEmbeddings, Teacher
from dist_erase.data.split.near_duplicates import NearDuplicate, find_near
from dist_erase.data.split.pool import Pool
from dist_erase.data.split.request import ReviewNeeded, ReviewOptions
from dist_erase.data.split.review import Candidate, Namer, list_candidates
from dist_erase.data.split.rules import FORGET, SplitOptions
from dist_erase.data.split.sheet import render_sheet
from dist_erase.storage import write_text


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """What is added to the rules.

    Attributes:
        chosen: bool [U], in the forget set by concept or by a person.
        near: near-duplicates, anchors before those that resemble them.
        unusable: unit → why its image cannot be decoded.
        changed: decisions that differ from what was proposed; None = nobody was asked.
    """

    chosen: NDArray[np.bool_]
    near: list[NearDuplicate] = field(default_factory=list)
    unusable: dict[int, str] = field(default_factory=dict)
    changed: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class _Proposal:
    """What happens if nobody objects."""

    scores: NDArray[np.float32] | None
    by_rule: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    near: list[NearDuplicate]
    candidates: list[Candidate]


def judge(
    pool: Pool,
    namer: Namer,
    embeddings: ImageEmbeddings,
    *,
    teacher: Teacher,
    options: SplitOptions,
    reviewing: ReviewOptions,
    identity: str,
    overwrite: bool,
) -> Verdict | ReviewNeeded:
    """Scores, cuts, looks for near-duplicates, and asks or reads the answer.

    Args:
        pool: thumbnails are read from it.
        namer: of the pool.
        embeddings: of its images.
        teacher: what made them.
        options: concept and near.
        reviewing: whether to ask, or where the answer is.
        identity: hash of everything that the proposal follows from.
        overwrite: an edited review may be written anew.

    Raises:
        UserError: the cut finds nothing, or the decisions cannot be used.
    """
    proposal = _propose(namer, embeddings, teacher, options)
    if reviewing.accept is not None:
        decided = review.read_decisions(reviewing.accept, proposal.candidates, namer, identity)
        return _decide(proposal, decided, embeddings, options)
    review.refuse_lost_edits(reviewing.folder, overwrite=overwrite)
    asked = _write_review(
        pool,
        namer,
        proposal,
        embeddings,
        fingerprint=teacher.fingerprint,
        options=options,
        reviewing=reviewing,
        identity=identity,
    )
    if not reviewing.yes:
        return asked
    return Verdict(chosen=proposal.chosen, near=proposal.near, unusable=embeddings.bad)


def _propose(
    namer: Namer, embeddings: ImageEmbeddings, teacher: Teacher, options: SplitOptions
) -> _Proposal:
    by_rule = namer.units.bits & FORGET > 0
    scores, chosen = None, np.zeros(len(namer.units), bool)
    if options.concept is not None:
        scores = score_units(options.concept, embeddings, teacher)
        chosen = cut_scores(options.concept, scores) & ~by_rule
    nobody = np.zeros(len(namer.units), bool)
    near = _near(embeddings, by_rule | chosen, nobody, options)
    return _Proposal(
        scores=scores,
        by_rule=by_rule,
        chosen=chosen,
        near=near,
        candidates=list_candidates(scores, chosen, by_rule, near),
    )


def _near(
    embeddings: ImageEmbeddings,
    forget: NDArray[np.bool_],
    kept_apart: NDArray[np.bool_],
    options: SplitOptions,
) -> list[NearDuplicate]:
    if options.near is None:
        return []
    return find_near(embeddings, forget, at_least=options.near, kept_apart=kept_apart)


def _decide(
    proposal: _Proposal,
    decided: dict[int, bool],
    embeddings: ImageEmbeddings,
    options: SplitOptions,
) -> Verdict:
    """The file is what counts, also where its reasons have gone with another decision."""
    size = len(proposal.by_rule)
    by_concept = [one.unit for one in proposal.candidates if one.why == "concept"]
    chosen = _mask([unit for unit in by_concept if decided[unit]], size)
    kept_apart = _mask([unit for unit, inside in decided.items() if not inside], size)
    near = _near(embeddings, proposal.by_rule | chosen, kept_apart, options)
    left = {unit for unit, inside in decided.items() if inside}
    left -= set(np.flatnonzero(chosen).tolist()) | {one.unit for one in near}
    if left:
        chosen[list(left)] = True
        near = _near(embeddings, proposal.by_rule | chosen, kept_apart, options)
    proposed = {one.unit: one.proposed == "in" for one in proposal.candidates}
    return Verdict(
        chosen=chosen,
        near=near,
        unusable=embeddings.bad,
        changed=sum(decided[unit] != inside for unit, inside in proposed.items()),
    )


def _mask(units: Sequence[int], size: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[list(units)] = True
    return mask


def _write_review(
    pool: Pool,
    namer: Namer,
    proposal: _Proposal,
    embeddings: ImageEmbeddings,
    *,
    fingerprint: str,
    options: SplitOptions,
    reviewing: ReviewOptions,
    identity: str,
) -> ReviewNeeded:
    folder = reviewing.folder
    units, listed = namer.units, proposal.candidates
    review.write_near_duplicates(folder / review.NEAR, proposal.near, namer)
    by_rule = int((proposal.by_rule & ~_mask(list(embeddings.bad), len(units))).sum())
    facts: dict[str, Any] = {
        "title": reviewing.title,
        "waits": not reviewing.yes,
        "model": reviewing.model,
        "fingerprint": fingerprint,
        "near": options.near,
        "images": len(units) - len(embeddings.bad),
        "by_rule": by_rule,
        "rules": _forget_rules(options),
        "samples": len(pool),
        "shards": len(pool.shards),
        "left_out": len(namer.survey.dropped) + int(units.copies[list(embeddings.bad)].sum()),
        "decisions": str(folder / review.DECISIONS),
        "near_csv": str(folder / review.NEAR),
    }
    page = render_sheet(
        pool=pool,
        namer=namer,
        candidates=listed,
        scores=proposal.scores,
        concept=options.concept,
        facts=facts,
    )
    write_text(folder / review.SHEET, page)
    review.write_decisions(folder, listed, namer, identity)
    return ReviewNeeded(
        sheet=folder / review.SHEET,
        decisions=folder / review.DECISIONS,
        rows=len(listed),
        forget=by_rule + int(proposal.chosen.sum()) + len(proposal.near),
        near=len(proposal.near),
        images=len(units) - len(embeddings.bad),
    )


def _forget_rules(options: SplitOptions) -> list[tuple[str, str]]:
    """Other rules than the concept, as the sheet shows them."""
    rules = [("Label", ", ".join(options.forget.labels))]
    rules.append(("Caption matches", " or ".join(options.forget.regexes)))
    rules.append(("Ids", str(options.forget_ids or "")))
    return [(name, value) for name, value in rules if value]
