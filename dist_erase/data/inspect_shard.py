"""One shard as it is, broken or not: what a reader would make of it, and what to be wary of.

The tar is read with tarfile itself: the index refuses what is to be described here.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image
from webdataset.tariterators import base_plus_ext

from dist_erase.batch import ImageSpec
from dist_erase.config.secrets import public
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.decode import decode_image
from dist_erase.data.inspect_facts import ShardFacts
from dist_erase.data.ranged import RangedFile
from dist_erase.data.read import RawSample
from dist_erase.data.sample import image_number
from dist_erase.data.scan_tar import IMAGE_SUFFIXES
from dist_erase.data.source import SourceSettings, make_source
from dist_erase.errors import BadSampleError, UserError

_PICKLED = {"pyd", "pkl", "pickle", "pth", "pt", "dill", "joblib"}
_TYPES = {*IMAGE_SUFFIXES, *_PICKLED, "txt", "json", "cls", "caption", "npy", "npz", "mp4", "wav"}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_SUFFIX_FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}
# What training says of a caption, and the kind of warning; anything else is a "bad caption".
_NO_CAPTION = (("is empty", "empty caption"), ("has no text", "no caption"))
_CHECK = ImageSpec(height=32, width=32, mean=(0.5,) * 3, std=(0.5,) * 3)
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class InspectTask:
    """A shard to look at; `captions` is the plan of training, `deep` decodes every image."""

    path: str
    captions: CaptionPlan
    deep: bool
    settings: SourceSettings


def inspect_shard(task: InspectTask) -> ShardFacts:
    """Looks at one shard.

    Raises:
        UserError: the file cannot be read at all.
    """
    facts = ShardFacts(shards=1)
    try:
        source = make_source(task.settings)
        facts.bytes = source.stat(task.path).size
        stream: Any = RangedFile(source, task.path, facts.bytes)
        _Reader(task, facts, stream).read()
    except OSError as error:
        problem = f"cannot be read ({public(str(error.strerror or error))})."
        raise UserError(public(task.path), problem, "Check file and disk.") from error
    return facts


class _Reader:
    """Goes through the members of a tar, grouping them as webdataset does."""

    def __init__(self, task: InspectTask, facts: ShardFacts, stream: IO[bytes]) -> None:
        self._task = task
        self._path = public(task.path)  # what is found is passed on, and URLs may be signed
        self._facts = facts
        self._stream = stream
        self._keys: set[str] = set()
        self._key: str | None = None
        self._members: dict[str, tarfile.TarInfo] = {}

    def read(self) -> None:
        try:
            with tarfile.open(fileobj=self._stream, mode="r:") as tar:
                self._facts.readable = True
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # else all headers are kept
                    self._add(tar, member)
                self._end_sample(tar)
                end = tar.offset
        except tarfile.ReadError as error:
            self._broken(error)
            return
        self._check_end(end)
        if not self._facts.samples:
            self._warn("empty shard", "no KEY.SUFFIX member")

    def _broken(self, error: tarfile.ReadError) -> None:
        if self._facts.readable:
            self._warn("truncated shard", f"{error} after {self._facts.samples} samples")
            return
        self._stream.seek(0)
        kind = _COMPRESSED.get(self._stream.read(2))
        detail = f"compressed with {kind}; unpack it first" if kind else str(error)
        self._warn("not a tar", detail)

    def _check_end(self, end: int) -> None:
        """A whole tar ends in zero blocks; tarfile takes a cut at a header for the end."""
        self._stream.seek(end)
        mark = self._stream.read(tarfile.BLOCKSIZE)
        if len(mark) < tarfile.BLOCKSIZE:
            self._warn("truncated shard", f"no end-of-archive mark after {self._facts.bytes} bytes")
        elif any(mark):
            self._warn("corrupt shard", f"no tar header at byte {end}; what follows is lost")

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if not member.isreg():
            if not member.isdir():
                self._warn("not a regular file", member.name)
            return
        key, suffix = base_plus_ext(member.name)
        if key is None:
            self._warn("member without suffix", f"{member.name}: left out by readers")
            return
        suffix = suffix.lower()
        if key != self._key:
            self._end_sample(tar)
            if key in self._keys:
                self._warn("duplicate key", f"{key} is two samples")
            self._keys.add(key)
            self._key = key
        elif suffix in self._members:
            self._warn("duplicate member", f"{member.name}: readers refuse the shard")
        self._members[suffix] = member
        self._facts.members[suffix] += 1
        self._check_member(member, key, suffix)

    def _check_member(self, member: tarfile.TarInfo, key: str, suffix: str) -> None:
        if not member.size:
            self._warn("zero-byte member", member.name)
        last = suffix.rpartition(".")[2]
        if "." in suffix and last in _TYPES:
            self._warn("dot in a key", f"{member.name} is read as key {key}, suffix {suffix}")
        elif last not in _TYPES:
            self._warn("unknown suffix", f"{member.name} is read as key {key}, suffix {suffix}")
        if last in _PICKLED:
            self._warn("pickled member", f"{member.name}: never decoded here, can run code")

    def _end_sample(self, tar: tarfile.TarFile) -> None:
        if self._key is None:
            return
        members, self._members = self._members, {}
        key, self._key = self._key, None
        name = f"#{self._facts.samples} (key {key})"
        self._facts.samples += 1
        self._facts.key_hashes[_hash(key)] += 1
        self._look_at_image(tar, members, name)
        self._look_at_caption(tar, members, name)
        self._look_at_label(tar, members, name)

    def _look_at_image(
        self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str
    ) -> None:
        suffix = next((suffix for suffix in IMAGE_SUFFIXES if suffix in members), None)
        if suffix is None:
            self._warn("no image", f"{name} holds .{', .'.join(members)}")
            return
        try:
            with Image.open(_open(tar, members[suffix])) as image:
                kind, size = str(image.format), image.size
        except _UNREADABLE as error:
            self._facts.formats["unreadable"] += 1
            self._warn("unreadable image", f"{name}: {type(error).__name__}")
        else:
            self._facts.formats[kind] += 1
            self._facts.shorter_sides[min(size)] += 1
            self._facts.longer_sides[max(size)] += 1
            if _SUFFIX_FORMATS.get(suffix, kind) != kind:
                self._warn("format differs from suffix", f"{name}: {kind} in a .{suffix} member")
        if self._task.deep:
            self._decode(_open(tar, members[suffix]).read(), name)

    def _decode(self, encoded: bytes, name: str) -> None:
        self._facts.image_ids[image_number(encoded)] += 1
        try:
            decode_image(encoded, _CHECK)
        except BadSampleError as error:
            self._facts.bad_images.append((f"{self._path}{name}", error.detail))
            self._warn("bad image", f"{name}: {error.detail}")

    def _look_at_caption(
        self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str
    ) -> None:
        """Holds every caption to what training holds it to."""
        plan = self._task.captions
        wanted = {plan.member.partition(":")[0], "json", "cls"}
        raw = {
            suffix: _open(tar, member).read()
            for suffix, member in members.items()
            if suffix in wanted
        }
        if not self._count_fields(raw, name) and plan.member.startswith("json:"):
            return  # the broken .json is a warning already
        try:
            number = 1 if plan.member == "cls" else len(plan.texts(raw))
        except BadSampleError as error:
            self._warn_of_caption(error, name)
            return
        if number > 1:
            self._warn("several captions", f"{name} has {number}")
        for draw in range(number):
            try:
                text = plan.caption(raw, draw).text
            except BadSampleError as error:
                self._warn_of_caption(error, name)
            else:
                self._facts.caption_lengths[len(text)] += 1
                self._facts.caption_hashes[_hash(text)] += 1

    def _warn_of_caption(self, error: BadSampleError, name: str) -> None:
        kinds = [kind for words, kind in _NO_CAPTION if words in error.detail]
        if error.reason == "structure":
            kinds = ["no caption"]
        self._warn((kinds or ["bad caption"])[0], f"{name}: {error.detail}")

    def _count_fields(self, raw: RawSample, name: str) -> bool:
        """False where there is a .json member that is no JSON object."""
        if "json" not in raw:
            return True
        try:
            fields = json.loads(str(raw["json"], "utf-8-sig"))
        except (ValueError, RecursionError) as error:
            self._warn("bad json", f"{name}: {error}")
            return False
        if not isinstance(fields, dict):
            self._warn("bad json", f"{name}: {type(fields).__name__} instead of an object")
            return False
        self._facts.json_fields.update(fields.keys())
        return True

    def _look_at_label(
        self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str
    ) -> None:
        if "cls" not in members:
            return
        text = _open(tar, members["cls"]).read()[:20]
        if text.strip().isdigit():
            self._facts.labels[int(text)] += 1
        else:
            self._warn("bad label", f"{name}: {text!r}")

    def _warn(self, kind: str, example: str) -> None:
        joint = "" if example.startswith("#") else ": "
        self._facts.warn(kind, f"{self._path}{joint}{example}")


def _open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = tar.extractfile(member)
    if opened is None:
        raise OSError(f"{member.name} is no file")
    return opened


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
