"""One call of the split: its arguments, and what it may answer without having split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dist_erase.config.source import SourceConfig
from dist_erase.data.source import SourceSettings
from dist_erase.data.split.embeddings import Teacher
from dist_erase.data.split.rules import SplitOptions


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """How a person has a say, where a teacher is asked.

    Attributes:
        folder: of the review.
        accept: decisions.csv of an earlier call; None = write the review and stop.
        yes: do not stop, split as proposed.
        title: of the sheet.
        model: name of the teacher, for the sheet.
    """

    folder: Path
    accept: Path | None = None
    yes: bool = False
    title: str = ""
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """What is to be split, and how.

    Attributes:
        out: folder of the new data set.
        source: the pool.
        settings: how its shards are read; decides nothing about the sets.
        options: rules, fractions, seed.
        classes: class names in the order of the .cls numbers; may be empty.
        teacher: needed by `options.concept` and `options.near`, and useless without.
        reviewing: the same.
        overwrite: replace a data set made with other options, or an edited review.
    """

    out: Path
    source: SourceConfig
    settings: SourceSettings = field(default_factory=SourceSettings)
    options: SplitOptions
    classes: Sequence[str] = ()
    teacher: Teacher | None = None
    reviewing: ReviewOptions | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ReviewNeeded:
    """Nothing was written but the review; the same call with `accept` goes on.

    Attributes:
        sheet: HTML page.
        decisions: CSV file whose column `decision` may be edited.
        rows: images listed there.
        forget: images that would be forgotten, near-duplicates included.
        near: near-duplicates.
        images: distinct images of the pool.
    """

    sheet: Path
    decisions: Path
    rows: int
    forget: int
    near: int
    images: int
