"""Which image goes where: a pure function of the rules' answers, the fractions and the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.draws import HOLD_OUT, RESERVE, draw
from dist_erase.data.split.near_duplicates import NearDuplicate
from dist_erase.data.split.rules import ASSOCIATION, FORGET, IDENTITY, SplitOptions
from dist_erase.data.split.units import Units
from dist_erase.errors import UserError

PLACES = (
    "train/forget",
    "eval/forget",
    "reserve/forget",
    "train/retain",
    "eval/retain",
    "reserve/retain",
    "eval/holdout_association",
    "eval/holdout_identity",
)
DROPPED = -1
_FORGET, _RETAIN, _ASSOCIATION, _IDENTITY = 0, 3, 6, 7  # in PLACES
_EVAL, _RESERVE = 1, 2  # added to _FORGET or _RETAIN


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The sets.

    Attributes:
        places: int8 [U], into PLACES, DROPPED for images that cannot be used.
        moved: samples moved to forget: `exact` (the image is one of the forget set's, the sample
            itself matches no rule) and `near` (near-duplicates).
    """

    places: NDArray[np.int8]
    moved: dict[str, int]


def make_plan(
    units: Units,
    *,
    sample_bits: NDArray[np.uint8],
    chosen: NDArray[np.bool_],
    near: Sequence[NearDuplicate],
    unusable: NDArray[np.bool_],
    options: SplitOptions,
) -> Plan:
    """Places every unit.

    Forget comes before hold-out associations, these before hold-out identities; the rest is
    retained. A near-duplicate goes where the image goes that it resembles, so that the two stand
    on one side of training and evaluation.

    Args:
        units: the pool's images.
        sample_bits: uint8 [N], what each sample matched by itself.
        chosen: bool [U], in the forget set by concept or review.
        near: near-duplicates, anchors before those that resemble them.
        unusable: bool [U], images that go nowhere.
        options: fractions and seed.

    Raises:
        UserError: a set that was asked for would be empty.
    """
    forget = ((units.bits & FORGET > 0) | chosen) & ~unusable
    following = [one for one in near if not one.kept_apart]
    free = ~forget & ~unusable
    free[[one.unit for one in following]] = False
    association = _hold_out(units, free & (units.bits & ASSOCIATION > 0), options)
    identity = _hold_out(units, free & ~association & (units.bits & IDENTITY > 0), options)
    places = np.full(len(units), DROPPED, np.int8)
    places[free] = _RETAIN
    places[association] = _ASSOCIATION
    places[identity] = _IDENTITY
    places[forget] = _FORGET
    for base in (_FORGET, _RETAIN):
        _draw_parts(places, base, units, options)
    for one in following:
        places[one.unit] = places[one.anchor]
    _refuse_empty(places, units, options)
    matched = (sample_bits & FORGET > 0) | np.where(
        units.of_sample >= 0, chosen[units.of_sample], False
    )
    of_forget = np.where(units.of_sample >= 0, forget[units.of_sample], False)
    return Plan(
        places=places,
        moved={
            "exact": int((of_forget & ~matched).sum()),
            "near": int(sum(units.copies[one.unit] for one in following)),
        },
    )


def _hold_out(units: Units, found: NDArray[np.bool_], options: SplitOptions) -> NDArray[np.bool_]:
    rows = _by_draw(units, np.flatnonzero(found), options.seed, HOLD_OUT)
    kept = np.zeros(len(units), bool)
    kept[rows[: _share(len(rows), options.holdout_fraction)]] = True
    return kept


def _draw_parts(places: NDArray[np.int8], base: int, units: Units, options: SplitOptions) -> None:
    """Moves shares of a group to its evaluation set and its reserve."""
    rows = _by_draw(units, np.flatnonzero(places == base), options.seed, RESERVE)
    reserve = _share(len(rows), options.reserve_fraction)
    held_out = _share(len(rows), options.eval_fraction)
    # Training comes first where there is not one image for each.
    held_out = min(held_out, max(0, len(rows) - 1))
    reserve = min(reserve, max(0, len(rows) - 1 - held_out))
    places[rows[:held_out]] = base + _EVAL
    places[rows[held_out : held_out + reserve]] = base + _RESERVE


def _by_draw(units: Units, rows: NDArray[np.int64], seed: int, purpose: int) -> NDArray[np.int64]:
    """In an order that seed and content decide, wherever in the pool an image stands."""
    numbers = draw(seed, purpose, units.image_ids[rows].view(np.uint64).astype(np.uint64))
    return rows[np.argsort(numbers, kind="stable")]


def _share(count: int, fraction: float) -> int:
    """At least one where there is anything to share."""
    return max(1, round(count * fraction)) if fraction and count else 0


def _refuse_empty(places: NDArray[np.int8], units: Units, options: SplitOptions) -> None:
    wanted = {
        "train/forget": True,
        "eval/forget": options.eval_fraction > 0,
        "reserve/forget": options.reserve_fraction > 0,
        "train/retain": True,
        "eval/retain": options.eval_fraction > 0,
        "reserve/retain": options.reserve_fraction > 0,
        "eval/holdout_association": bool(options.association),
        "eval/holdout_identity": bool(options.identity),
    }
    for number, name in enumerate(PLACES):
        if wanted[name] and not (places == number).any():
            forgotten = int(np.isin(places, (0, 1, 2)).sum())
            raise UserError(
                name,
                f"the set would be empty ({forgotten:,} of {len(units):,} images are to be "
                "forgotten).",
                _mend(name),
            )


def _mend(name: str) -> str:
    if "holdout" in name:
        return (
            "Change its rule: it must find images that the forget rules (and near-duplicates of "
            "what they find) leave."
        )
    if name == "train/forget":
        return "Change the rules so that they find an image."
    if name.endswith("forget"):
        return "Forget more images, or set the fraction to 0."
    return "Forget fewer images, or raise --near."
