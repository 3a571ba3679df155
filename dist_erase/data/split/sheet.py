"""The contact sheet: one self-contained page with what is about to be forgotten."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from dist_erase.data.sample import image_member
from dist_erase.data.split.pool import Pool
from dist_erase.data.split.review import Candidate, Namer
from dist_erase.data.split.rules import ConceptRule
from dist_erase.errors import BadSampleError

_SHOWN = 24  # images of a section
_PAIRS = 24
_THUMBNAIL = 192  # pixels of the longer side
_BINS = 64


@dataclass(frozen=True)
class Card:
    """One image on the sheet; `picture` is a data URI, None where it cannot be shown."""

    id: str
    key: str
    captions: str
    copies: int
    decision: str
    figure: str
    picture: str | None


@dataclass(frozen=True)
class Bar:
    """One bin of the scores: its place in percent, its height 0..1, and whether it is in."""

    left: float
    width: float
    height: float
    inside: bool
    title: str


def render_sheet(
    *,
    pool: Pool,
    namer: Namer,
    candidates: Sequence[Candidate],
    scores: NDArray[np.float32] | None,
    concept: ConceptRule | None,
    facts: dict[str, Any],
) -> str:
    """The page.

    Args:
        pool: thumbnails are read from it.
        namer: of the pool.
        candidates: in the order of decisions.csv.
        scores: float32 [U]; None without a concept.
        concept: None where another rule made the forget set.
        facts: title, waits, rules, model, near, images, by_rule: what the template shows as it is.
    """
    by_score = [one for one in candidates if one.why == "concept"]
    inside = [one for one in by_score if one.proposed == "in"]
    outside = [one for one in by_score if one.proposed == "out"]
    # The least similar ones are the doubtful ones.
    near = sorted((one for one in candidates if one.why != "concept"), key=_cosine)
    borderline = inside[max(_SHOWN, len(inside) - _SHOWN) :]
    sections = [
        ("Highest scores", "What the concept finds most surely.", inside[:_SHOWN]),
        ("Just inside the cut", "The last ones that would be forgotten.", borderline),
        ("Just outside the cut", "The first ones that would be kept.", outside[:_SHOWN]),
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("sheet.html").render(
        facts=facts,
        concept=concept,
        total_in=len(inside),
        total_near=len(near),
        sections=[
            (title, text, [_card(one, pool, namer) for one in some])
            for title, text, some in sections
            if some
        ],
        pairs=[_pair(one, pool, namer) for one in near[:_PAIRS]],
        bars=[] if scores is None else _bars(scores, inside),
        low=None if scores is None else float(scores[np.isfinite(scores)].min()),
        high=None if scores is None else float(scores[np.isfinite(scores)].max()),
        cut=min((one.score for one in inside if one.score is not None), default=None),
    )


def _cosine(one: Candidate) -> float:
    return one.cosine or 0.0


def _card(one: Candidate, pool: Pool, namer: Namer, unit: int | None = None) -> Card:
    unit = one.unit if unit is None else unit
    return Card(
        id=namer.id(unit),
        key=namer.key(unit),
        captions=namer.captions(unit),
        copies=int(namer.units.copies[unit]),
        decision=one.proposed,
        figure="" if one.score is None else f"{one.score:.3f}",
        picture=_thumbnail(pool, int(namer.units.firsts[unit])),
    )


def _pair(one: Candidate, pool: Pool, namer: Namer) -> tuple[Card, Card, str]:
    return _card(one, pool, namer, one.near), _card(one, pool, namer), f"{one.cosine:.3f}"


def _thumbnail(pool: Pool, position: int) -> str | None:
    stream = io.BytesIO()
    try:
        with Image.open(io.BytesIO(image_member(pool.sample(position)))) as image:
            image.thumbnail((_THUMBNAIL, _THUMBNAIL))
            image.convert("RGB").save(stream, "JPEG", quality=82)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, BadSampleError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _bars(scores: NDArray[np.float32], inside: Sequence[Candidate]) -> list[Bar]:
    """A histogram with logarithmic heights: what is in is few among many."""
    usable = scores[np.isfinite(scores)]
    counts, edges = np.histogram(usable, bins=_BINS)
    tallest = np.log1p(counts.max())
    lowest = min((one.score for one in inside if one.score is not None), default=np.inf)
    return [
        Bar(
            left=100 * number / _BINS,
            width=100 / _BINS,
            height=float(np.log1p(count) / tallest),
            inside=bool(edges[number + 1] > lowest),
            title=f"{edges[number]:.3f} to {edges[number + 1]:.3f}: {count:,} images",
        )
        for number, count in enumerate(counts.tolist())
        if count
    ]
