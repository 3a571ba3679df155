"""Which samples a person asked for: by class, by caption, by id, by concept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dist_erase.config.nearest import did_you_mean
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.read import RawSample
from dist_erase.errors import UserError

FORGET, ASSOCIATION, IDENTITY = 1, 2, 4  # bits of a sample


@dataclass(frozen=True, kw_only=True)
class SetRule:
    """A sample is in the set if its class is one of `labels` or a caption matches a pattern.

    Attributes:
        labels: class names or numbers, as typed.
        regexes: searched for in every caption of the sample, case ignored.
    """

    labels: tuple[str, ...] = ()
    regexes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.regexes)


@dataclass(frozen=True, kw_only=True)
class ConceptRule:
    """The pool's images are scored by a teacher and cut.

    Attributes:
        prompts: the concept; an image's score is its highest cosine with one of them,
        against: minus its highest cosine with one of these, if there are any.
        threshold: scores from here on are in; None where `top_k` decides.
        top_k: so many images are in.
    """

    prompts: tuple[str, ...]
    against: tuple[str, ...] = ()
    threshold: float | None = None
    top_k: int | None = None


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Everything that decides which image goes where.

    Attributes:
        forget: the forget set, together with `forget_ids` and `concept`: any of them suffices.
        association: hold-out associations (same identity, other facts).
        identity: hold-out identities (same kind, other members).
        forget_ids: a file that `ids.read_ids` understands.
        near: least cosine of two images that count as near-duplicates; None = not looked for.
        eval_fraction: of the forget and of the retain images, held out for evaluation.
        reserve_fraction: of the same, never trained on: for membership tests.
        holdout_fraction: of the images that a hold-out rule finds; the rest is retained.
        seed: decides every draw.
        shard_size: most samples in a shard.
    """

    forget: SetRule = field(default_factory=SetRule)
    association: SetRule = field(default_factory=SetRule)
    identity: SetRule = field(default_factory=SetRule)
    forget_ids: Path | None = None
    concept: ConceptRule | None = None
    near: float | None = None
    eval_fraction: float = 0.3
    reserve_fraction: float = 0.0
    holdout_fraction: float = 1.0
    seed: int = 0
    shard_size: int = 2048


@dataclass(frozen=True, kw_only=True)
class Matcher:
    """`SetRule` made ready: class numbers and compiled patterns. Travels to workers."""

    labels: frozenset[int]
    patterns: tuple[re.Pattern[str], ...]

    def matches(self, label: int, captions: Sequence[str]) -> bool:
        """Whether a sample is meant; `label` is -1 where there is none."""
        return label in self.labels or any(
            pattern.search(caption) for pattern in self.patterns for caption in captions
        )


def check_options(options: SplitOptions) -> None:
    """Raises UserError where options contradict each other."""
    by_concept = options.concept is not None
    if not (options.forget or options.forget_ids or by_concept):
        raise UserError(
            "--forget-label, --forget-regex, --forget-ids, --concept",
            "none is given, so nothing would be forgotten.",
            "Give one of them.",
        )
    if options.concept and (options.concept.threshold is None) == (options.concept.top_k is None):
        given = "neither is" if options.concept.top_k is None else "both are"
        raise UserError("--threshold, --top-k", f"{given} given.", "Give one of them.")
    if options.eval_fraction + options.reserve_fraction >= 1:
        raise UserError(
            "--eval-fraction, --reserve-fraction",
            f"{options.eval_fraction:g} + {options.reserve_fraction:g} leaves nothing to train on.",
            "Keep their sum below 1.",
        )


def compile_rule(rule: SetRule, *, option: str, classes: Sequence[str]) -> Matcher:
    """Makes a rule ready.

    Args:
        rule: as typed.
        option: start of the options' names in errors, for instance `--forget`.
        classes: class names in the order of the .cls numbers; may be empty.

    Raises:
        UserError: an unknown class, or a pattern that does not compile.
    """
    numbers = frozenset(_class_number(name, f"{option}-label", classes) for name in rule.labels)
    patterns = []
    for regex in rule.regexes:
        try:
            patterns.append(re.compile(regex, re.IGNORECASE))
        except re.error as error:
            raise UserError(
                f"{option}-regex", f"{regex!r} is no pattern ({error}).", "Mend it."
            ) from error
    return Matcher(labels=numbers, patterns=tuple(patterns))


def read_captions(raw: RawSample, plan: CaptionPlan) -> tuple[list[str], int]:
    """All captions of a sample and its class number (-1 where there is none).

    Raises:
        BadSampleError: a caption or the class number is unusable.
    """
    first = plan.caption(raw)
    if plan.member == "cls":
        return [first.text], first.label
    # Each by its own draw, so that one of several is held to what a single one is held to.
    number = len(plan.texts(raw))
    return [plan.caption(raw, draw).text for draw in range(number)], first.label


def _class_number(name: str, option: str, classes: Sequence[str]) -> int:
    if name.isdecimal():
        if classes and int(name) >= len(classes):
            raise UserError(
                option, f"is {name}, with {len(classes)} classes.", f"Use 0 to {len(classes) - 1}."
            )
        return int(name)
    spaced = name.strip().replace("_", " ")
    if spaced in classes:
        return list(classes).index(spaced)
    if not classes:
        raise UserError(
            option,
            f"is the name {name!r}, without class names.",
            "Give --classes FILE, or numbers.",
        )
    raise UserError(
        option,
        f"no class is called {name!r}.",
        f"{did_you_mean(spaced, classes)}The classes are: {', '.join(classes)}.",
    )
