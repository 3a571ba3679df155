"""What shards hold and what to be wary of, before anything is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dist_erase.data.captions import CaptionPlan
from dist_erase.data.inspect_facts import ShardFacts
from dist_erase.data.inspect_shard import InspectTask, inspect_shard
from dist_erase.data.shards import expand_shards
from dist_erase.data.source import SourceSettings, make_source
from dist_erase.data.workers import ordered_map
from dist_erase.errors import UserError

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_FEW = 20  # classes, suffixes and fields that are listed; there may be a name for each sample
MEANING = {
    "dot in a key": "the key ends at the first dot of the file name; rename, or ignore if meant",
    "unknown suffix": "no reader here uses it",
    "member without suffix": "readers leave it out",
    "pickled member": "can run code when decoded; never decoded here",
    "duplicate key": "keys are labels only here, but other readers merge or refuse such samples",
    "duplicate member": "a sample names a member twice; readers refuse the shard",
    "zero-byte member": "an interrupted download or a failed resize, as a rule",
    "truncated shard": "copy it again",
    "corrupt shard": "copy it again",
    "empty shard": "leave it out of the pattern",
    "not a tar": "leave it out of the pattern",
    "not a regular file": "links are left out by readers",
    "no image": "such samples cannot be used",
    "unreadable image": "the header is no image's",
    "bad image": "does not decode",
    "format differs from suffix": "harmless: decoders look at the content",
    "no caption": "name the right member or field with --caption",
    "empty caption": "such samples cannot be used",
    "bad caption": "such samples cannot be used",
    "several captions": "training draws one for each pass, evaluation takes the first",
    "bad json": "such members cannot be used",
    "bad label": "class numbers are digits",
}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The facts of all shards.

    Attributes:
        facts: added up.
        caption: where captions were looked for.
        deep: whether images were decoded.
    """

    facts: ShardFacts
    caption: str
    deep: bool

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        facts = self.facts
        found: dict[str, Any] = {
            "shards": facts.shards,
            "samples": facts.samples,
            "bytes": facts.bytes,
            "members": dict(facts.members.most_common(_FEW)),
            "json_fields": dict(facts.json_fields.most_common(_FEW)),
            "images": {
                "formats": dict(facts.formats.most_common()),
                "shorter_side": quantiles(facts.shorter_sides),
                "longer_side": quantiles(facts.longer_sides),
            },
            "captions": {
                "where": self.caption,
                "usable": facts.caption_lengths.total(),
                "distinct": len(facts.caption_hashes),
                "characters": quantiles(facts.caption_lengths),
            },
            "labels": {
                "samples": facts.labels.total(),
                "classes": len(facts.labels),
                "largest": {str(k): v for k, v in facts.labels.most_common(_FEW)},
            },
            "keys_in_several_samples": sum(n > 1 for n in facts.key_hashes.values()),
            "warnings": {
                kind: {"count": count, "meaning": MEANING[kind], "examples": facts.examples[kind]}
                for kind, count in facts.counts.most_common()
            },
        }
        if self.deep:
            found["images"]["distinct"] = len(facts.image_ids)
            found["images"]["bad"] = dict(bad_by_reason(facts))
            found["images"]["bad_ids"] = [list(entry) for entry in facts.bad_images]
        return found


def inspect_shards(
    patterns: Sequence[str],
    *,
    caption: str = "txt",
    classes: Sequence[str] = (),
    settings: SourceSettings | None = None,
    deep: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, planned: None,
) -> Inspection:
    """Looks at every shard.

    Args:
        patterns: brace or glob patterns.
        caption: txt, txt:lines, json:KEY or cls.
        classes: class names in the order of the .cls numbers; needed by cls.
        settings: how shards are read; None = as local ones and public URLs are.
        deep: decode every image too, instead of reading its header only.
        workers: processes; 0 = none.
        progress: called with (shards done, shards).

    Raises:
        UserError: no shard, one that cannot be read, or none that is a tar.
    """
    captions = _plan(caption, classes)
    settings = settings or SourceSettings()
    groups = expand_shards(list(patterns), where="PATTERN", source=make_source(settings))
    paths = [path for group in groups for path in group]
    tasks = [InspectTask(path, captions, deep, settings) for path in paths]
    facts = ShardFacts()
    for one in ordered_map(inspect_shard, tasks, workers=workers):
        facts.add(one)
        progress(facts.shards, len(paths))
    if not facts.readable:
        path, _, detail = facts.examples["not a tar"][0].partition(": ")
        others = f", nor any other of the {len(paths)} files" if len(paths) > 1 else ""
        raise UserError(
            path, f"is not a readable tar file ({detail}){others}.", "Name webdataset shards."
        )
    return Inspection(facts=facts, caption=caption, deep=deep)


def _plan(caption: str, classes: Sequence[str]) -> CaptionPlan:
    is_field = caption.startswith("json:") and len(caption) > 5
    if caption not in ("txt", "txt:lines", "cls") and not is_field:
        raise UserError("--caption", f"is {caption!r}.", "Write txt, txt:lines, json:KEY or cls.")
    if caption == "cls" and not classes:
        raise UserError("--caption", "is cls, which needs class names.", "Give --classes FILE.")
    return CaptionPlan(member=caption, classes=tuple(classes))


def quantiles(values: Counter[int]) -> dict[str, int] | None:
    """Least, 5 %, median, 95 % and greatest of counted values; None where there is none."""
    if not values:
        return None
    ordered = sorted(values.items())
    total, seen, answer = values.total(), 0, {}
    wanted = iter(_QUANTILES)
    quantile: float | None = next(wanted)
    for value, count in ordered:
        seen += count
        while quantile is not None and seen >= max(1, quantile * total):
            answer[f"{quantile:.0%}"] = value
            quantile = next(wanted, None)
    return answer


def bad_by_reason(facts: ShardFacts) -> Counter[str]:
    """Images that do not decode, by the kind of error."""
    return Counter(detail.partition(":")[0] for _, detail in facts.bad_images)
