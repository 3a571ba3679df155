"""The whole split: survey, scores, review, plan, shards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from dist_erase.data.build.dataset import BuildSummary, find_finished, write_record
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.split.embeddings import embed_units
from dist_erase.data.split.ids import GivenIds, SampleNames, read_ids
from dist_erase.data.split.judging import Verdict, judge
from dist_erase.data.split.plan import make_plan
from dist_erase.data.split.pool import Pool, open_pool
from dist_erase.data.split.record import (
    all_rules,
    findings,
    review_rules,
    survey_rules,
    write_lists,
)
from dist_erase.data.split.request import ReviewNeeded, SplitRequest
from dist_erase.data.split.review import Namer
from dist_erase.data.split.rules import (
    ASSOCIATION,
    FORGET,
    IDENTITY,
    Matcher,
    check_options,
    compile_rule,
)
from dist_erase.data.split.survey import SURVEY_VERSION, Progress, SurveyRules, survey_pool
from dist_erase.data.split.units import find_units
from dist_erase.data.split.write import write_sets
from dist_erase.data.stage import INDEX, Stage, digest, open_stage
from dist_erase.errors import UserError


def split_pool(
    request: SplitRequest,
    *,
    workers: int = 0,
    progress: Progress = lambda what, done, planned: None,
) -> BuildSummary | ReviewNeeded:
    """Splits a pool into sets that share no image.

    Interrupted, it goes on from the hidden folder beside `request.out` when it is called again.

    Args:
        request: what and how.
        workers: processes that read and decode; 0 = none.
        progress: called with (what, done, planned).

    Raises:
        OSError: a read or write failed.
        UserError: the pool, the rules or the decisions are at fault, a set would be empty, or
            the folder holds something else.
    """
    options = request.options
    check_options(options)
    matchers = {
        FORGET: compile_rule(options.forget, option="--forget", classes=request.classes),
        ASSOCIATION: compile_rule(
            options.association, option="--holdout-association", classes=request.classes
        ),
        IDENTITY: compile_rule(
            options.identity, option="--holdout-identity", classes=request.classes
        ),
    }
    with open_stage(request.out, "split") as stage:
        pool = open_pool(
            request.source,
            where="POOL",
            cache_dir=stage.folder / INDEX,
            settings=request.settings,
        )
        finished = _finished(request, pool)
        if finished:
            return finished
        namer = _survey(request, pool, matchers, stage, workers, progress)
        verdict = _judge(request, pool, namer, stage, workers, progress)
        if isinstance(verdict, ReviewNeeded):
            return verdict
        return _write(request, pool, namer, verdict, stage, workers, progress)


def _finished(request: SplitRequest, pool: Pool) -> BuildSummary | None:
    return find_finished(
        request.out,
        builder="split",
        options=all_rules(request, pool),
        overwrite=request.overwrite,
    )


def _survey(
    request: SplitRequest,
    pool: Pool,
    matchers: dict[int, Matcher],
    stage: Stage,
    workers: int,
    progress: Progress,
) -> Namer:
    names = SampleNames(pool)
    given = GivenIds()
    if request.options.forget_ids is not None:
        given = read_ids(request.options.forget_ids, names)
    survey = survey_pool(
        pool,
        SurveyRules(
            captions=CaptionPlan.of(request.source, request.classes),
            matchers=matchers,
            sha256=frozenset(digest for digest, _ in given.sha256),
        ),
        given.positions,
        folder=stage.part("survey", [SURVEY_VERSION, survey_rules(request, pool)]),
        workers=workers,
        progress=progress,
    )
    for sha256, line in given.sha256:
        if sha256 not in survey.found_sha256:
            raise UserError(
                f"{request.options.forget_ids}, line {line}",
                f"no usable image of the pool has the SHA-256 {sha256}.",
                "It is that of the image as it stands in the shard; remove the line or mend it.",
            )
    return Namer(names, find_units(survey), survey)


def _judge(
    request: SplitRequest,
    pool: Pool,
    namer: Namer,
    stage: Stage,
    workers: int,
    progress: Progress,
) -> Verdict | ReviewNeeded:
    """With a teacher, its opinion and a person's; without, the rules alone decide."""
    options, teacher, reviewing = request.options, request.teacher, request.reviewing
    if options.concept is None and options.near is None:
        return Verdict(chosen=np.zeros(len(namer.units), bool))
    if teacher is None or reviewing is None:
        raise ValueError("a concept and near-duplicates need a teacher and a review")
    images = hashlib.blake2b(namer.units.firsts.tobytes(), digest_size=16).hexdigest()
    identity = [pool.fingerprint, images, teacher.fingerprint]
    embeddings = embed_units(
        pool,
        namer.units,
        teacher,
        folder=stage.part("embeddings", identity),
        workers=workers,
        progress=progress,
    )
    return judge(
        pool,
        namer,
        embeddings,
        teacher=teacher,
        options=options,
        reviewing=reviewing,
        identity=digest(review_rules(request, pool)),
        overwrite=request.overwrite,
    )


def _write(
    request: SplitRequest,
    pool: Pool,
    namer: Namer,
    verdict: Verdict,
    stage: Stage,
    workers: int,
    progress: Progress,
) -> BuildSummary:
    unusable = np.zeros(len(namer.units), bool)
    unusable[list(verdict.unusable)] = True
    plan = make_plan(
        namer.units,
        sample_bits=namer.survey.bits,
        chosen=verdict.chosen,
        near=verdict.near,
        unusable=unusable,
        options=request.options,
    )
    options = all_rules(request, pool)
    folder: Path = stage.part("sets", options)
    written = write_sets(
        pool,
        namer.units,
        plan,
        folder=folder,
        shard_size=request.options.shard_size,
        workers=workers,
        progress=progress,
    )
    write_lists(folder / "data", namer, verdict, request)
    summary = BuildSummary(
        out=request.out,
        up_to_date=False,
        builder="split",
        options=options,
        samples=written.samples,
        shards=written.shards,
        dropped_from_retain=0,
        train_images_in_eval=0,
        facts=findings(pool, namer, plan, written, verdict, request),
    )
    write_record(folder / "data", summary)
    stage.finish(folder / "data", request.out)
    return summary
