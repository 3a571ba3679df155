"""Which text goes with a sample, and when two texts count as equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.config.source import SourceConfig
from dist_erase.data.read import RawSample
from dist_erase.errors import BadSampleError, UserError


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A sample's text.

    Attributes:
        text: what the tokenizer gets, not empty.
        caption_id: 63 bits; equal numbers mean equal texts, or equal classes for `cls`.
        label: the `.cls` member, -1 where there is none.
    """

    text: str
    caption_id: int
    label: int


@dataclass(frozen=True, kw_only=True)
class CaptionPlan:
    """Where a set's captions stand.

    Attributes:
        member: `txt`, `txt:lines`, `json:KEY` or `cls`.
        templates: prompts with one {} for the class name; used by `cls` only.
        classes: class names in the order of the `.cls` numbers; used by `cls` only.
    """

    member: str = "txt"
    templates: tuple[str, ...] = ("a photo of a {}.",)
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.member == "cls" and not (self.classes and self.templates):
            raise ValueError("captions from class numbers need class names and templates")

    @classmethod
    def of(cls, source: SourceConfig, classes: Sequence[str] | None) -> CaptionPlan:
        """The plan that a set's configuration asks for."""
        names = tuple(classes or ())
        return cls(member=source.caption, templates=tuple(source.templates), classes=names)

    def caption(self, raw: RawSample, draw: int = 0) -> Caption:
        """The caption of a sample; `draw` chooses among several, or the template (0: the first).

        Raises:
            BadSampleError: the caption or the class number is missing, empty or undecodable.
        """
        label = _label(raw, needed=self.member == "cls")
        if self.member == "cls":
            if label < 0:
                raise BadSampleError("structure", "no .cls member")
            if label >= len(self.classes):
                raise BadSampleError("class", f"class {label}, but {len(self.classes)} have names")
            text = self.templates[draw % len(self.templates)].format(self.classes[label])
            return Caption(text=text, caption_id=_number(f"class {label}"), label=label)
        texts = self.texts(raw)
        text = texts[draw % len(texts)]
        if "\0" in text:  # UTF-16 without its mark, or binary data
            raise BadSampleError("caption", f"the caption ({self.member}) holds a NUL character")
        try:
            return Caption(text=text, caption_id=_number(text), label=label)
        except UnicodeEncodeError as error:  # JSON may spell half a surrogate pair
            raise BadSampleError("caption", f"no valid Unicode: {error}") from error

    def texts(self, raw: RawSample) -> list[str]:
        """All captions of a sample that are not empty, at least one; not with `cls`.

        Raises:
            BadSampleError: there is none.
        """
        found = [text for text in map(str.strip, self._texts(raw)) if text]
        if not found:
            raise BadSampleError("caption", f"the caption ({self.member}) is empty")
        return found

    def _texts(self, raw: RawSample) -> list[str]:
        if self.member.startswith("json:"):
            return _json_texts(raw, self.member.removeprefix("json:"))
        text = _text(raw, "txt")
        return text.split("\n") if self.member == "txt:lines" else [text]


def read_class_names(path: str, *, where: str = "data.classes") -> tuple[str, ...]:
    """Reads a JSON list of class names; raises UserError for anything else."""
    mend = "Give a JSON file with a list of class names."
    try:
        names = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(where, f"cannot read `{path}` ({error.strerror}).", mend) from error
    except ValueError as error:
        raise UserError(where, f"`{path}` is not JSON in UTF-8 ({error}).", mend) from error
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(where, f"`{path}` is not a list of strings.", mend)
    return tuple(names)


def _text(raw: RawSample, suffix: str) -> str:
    if suffix not in raw:
        raise BadSampleError("structure", f"no .{suffix} member")
    try:
        return str(raw[suffix], "utf-8-sig")  # without the byte order mark that Windows writes
    except UnicodeDecodeError as error:
        raise BadSampleError("caption", f".{suffix} is not UTF-8: {error}") from error


def _json_texts(raw: RawSample, key: str) -> list[str]:
    """A field that is a text or a list of texts."""
    try:
        fields = json.loads(_text(raw, "json"))
    except (ValueError, RecursionError) as error:
        raise BadSampleError("caption", f".json does not parse: {error}") from error
    value = _field(fields, key)
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise BadSampleError("caption", f".json has no text or list of texts in field {key!r}")


def _field(fields: Any, key: str) -> Any:
    """The field called `key`; if there is none, the one that its dots lead to; else None."""
    if isinstance(fields, dict) and key in fields:
        return fields[key]
    for part in key.split("."):
        fields = fields.get(part) if isinstance(fields, dict) else None
    return fields


def _label(raw: RawSample, *, needed: bool) -> int:
    """The class number; -1 where there is none, or none that can be read and it is not needed."""
    if "cls" not in raw:
        return -1
    try:
        label = int(raw["cls"])
    except ValueError:
        label = -1
    if 0 <= label < 2**31:
        return label
    if needed:
        raise BadSampleError("class", f".cls is no class number: {raw['cls'][:20]!r}")
    return -1


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
