"""Counts of what shards hold, added up over shards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_EXAMPLES = 3  # kept of each kind of warning; all are counted


@dataclass
class ShardFacts:
    """What was found in one shard, or, added up, in several.

    Attributes:
        members: by suffix.
        formats: images by PIL's name of the format; `unreadable` where there is none.
        shorter_sides, longer_sides: images by pixels.
        caption_lengths: captions by characters, empty ones left out.
        caption_hashes: of each caption, to find equal ones.
        json_fields: by name, in the samples that have a .json member.
        labels: by class number.
        key_hashes: of each sample's key.
        image_ids: of each image, if `deep`.
        counts: warnings by kind.
        examples: a few of each kind.
        bad_images: (id, reason) of all images that do not decode, if `deep`.
        readable: False if not one tar header could be read.
    """

    shards: int = 0
    samples: int = 0
    bytes: int = 0
    members: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    shorter_sides: Counter[int] = field(default_factory=Counter)
    longer_sides: Counter[int] = field(default_factory=Counter)
    caption_lengths: Counter[int] = field(default_factory=Counter)
    caption_hashes: Counter[int] = field(default_factory=Counter)
    json_fields: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    key_hashes: Counter[int] = field(default_factory=Counter)
    image_ids: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    bad_images: list[tuple[str, str]] = field(default_factory=list)
    readable: bool = False

    def warn(self, kind: str, example: str) -> None:
        """Counts a warning."""
        self.counts[kind] += 1
        shown = self.examples.setdefault(kind, [])
        if len(shown) < _EXAMPLES:
            shown.append(example)

    def add(self, other: ShardFacts) -> None:
        """Adds another shard's facts to these."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, Counter):
                mine.update(value)
            elif isinstance(value, list):
                mine.extend(value)
            elif isinstance(value, bool):
                self.readable |= value
            elif isinstance(value, int):
                setattr(self, name, mine + value)
        for kind, examples in other.examples.items():
            shown = self.examples.setdefault(kind, [])
            shown.extend(examples[: _EXAMPLES - len(shown)])
