"""The `data` section: which shards hold which set, and how they are streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator

from dist_erase.config.secrets import secret_in
from dist_erase.config.section import Section
from dist_erase.config.sizes import SIZE
from dist_erase.config.source import SIGN_IN, SourceConfig, pipe_problem

MAX_PIXELS = 89_478_485  # PIL's own limit: beyond it, it warns
_PIL_REFUSES = 2 * MAX_PIXELS


class EvalSetsConfig(Section):
    """Held-out sets that the model is measured on before and after."""

    forget: SourceConfig
    retain: SourceConfig
    holdout_association: SourceConfig | None = Field(
        None, description="Same identity, other facts: shows over-generalised forgetting."
    )
    holdout_identity: SourceConfig | None = Field(
        None, description="Same kind, other members: shows over-generalised forgetting."
    )
    untouched: dict[str, SourceConfig] = Field(
        default_factory=dict, description="Further data sets by name, each with its own gallery."
    )


class ReadConfig(Section):
    """How patient reads of remote shards are."""

    timeout_seconds: float = Field(
        60.0, gt=0, description="Deadline of each attempt to read a block."
    )
    retries: int = Field(
        5,
        ge=0,
        description="Further attempts after a failure that may pass (timeouts, broken "
        "connections, truncated answers, HTTP 429 and 5xx), with growing random pauses.",
    )


class BlockCacheConfig(Section):
    """Blocks of remote shards kept on a local disk."""

    dir: str | None = Field(
        None, description="A folder that several processes and runs may share; null = no cache."
    )
    max_bytes: str = Field(
        "50GB",
        pattern=SIZE,
        description="Limit of the folder; the blocks unused for longest are deleted.",
    )


class StreamingConfig(Section):
    """What training and pretraining share of the data section."""

    classes: str | None = Field(
        None,
        description="JSON file with the class names in the order of the .cls numbers; needed by "
        "`caption: cls` and by zero-shot evaluation.",
    )
    block: int = Field(64, ge=1, description="Samples per block, the unit of shuffling and I/O.")
    shuffle_window: int = Field(
        4096,
        ge=1,
        description="Samples that the shuffled blocks are mixed among; 1 = blocks only.",
    )
    streams: Literal["auto"] | int = Field(
        "auto",
        description="Virtual streams of each set; they fix the world sizes that a run can have. "
        "auto = the largest divisor of the set's global batch up to 256.",
    )
    workers: int = Field(
        2, ge=0, description="Decoding processes per rank; 0 = decode in the rank's own process."
    )
    cache_bytes: int = Field(
        256 * 2**20, ge=0, description="Bytes of shard blocks each data worker keeps in memory."
    )
    read: ReadConfig = Field(default_factory=ReadConfig)
    block_cache: BlockCacheConfig = Field(default_factory=BlockCacheConfig)
    allow_pipe: bool = Field(
        False,
        description="Accept `pipe:COMMAND` among shards: the command runs once on each machine, "
        "without a shell, and its output is kept in `block_cache.dir` or among temporary files.",
    )
    storage: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="fsspec's options by protocol, for instance `{s3: {endpoint_url: "
        "https://minio:9000}}` or `{s3: {anon: true}}`. No credentials: they come from the "
        "environment.",
    )
    watchdog_seconds: float = Field(
        300.0,
        gt=0,
        description="When no batch comes for so long, the data workers write where they are stuck "
        "to RUN/stacks/; the run goes on waiting.",
    )
    decode: Literal["scaled", "exact"] = Field(
        "scaled",
        description="Of training images. exact: pixels equal to open_clip's own. scaled: large "
        "JPEGs are decoded at a smaller size and resized by a faster kernel; embeddings stay "
        "(docs/data.md). Evaluation and the floor are exact always.",
    )
    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        le=_PIL_REFUSES,
        description="An image with more pixels (by its header, or once resized) is an unusable "
        "sample, never decoded.",
    )
    max_corrupt_fraction: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Share of a set's samples that may be unreadable; they are replaced, counted "
        "and listed in quarantine.jsonl. 0 = the first one stops the run.",
    )

    @field_validator("storage")
    @classmethod
    def storage_holds_no_secret(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Run folders keep the configuration, so it must not hold credentials."""
        found = secret_in(value)
        if found:
            raise ValueError(
                f"{found} looks like a credential, and run folders keep the configuration; remove "
                f"it. {SIGN_IN}"
            )
        return value


class DataConfig(StreamingConfig):
    """Forget and retain pairs, held-out sets, and how they are streamed."""

    forget: SourceConfig
    retain: SourceConfig
    eval: EvalSetsConfig
    epoch_of: Literal["forget", "retain"] = Field(
        "retain", description="The set whose passes are counted as epochs."
    )
    overlap_scan_max: str = Field(
        "50GB",
        pattern=SIZE,
        description="Below this size of the retain shards, shared images are searched for before "
        "the start; above it, while training.",
    )
    allow_overlap: bool = Field(
        False, description="Train although forget and retain sets share images."
    )


class PretrainDataConfig(StreamingConfig):
    """One set to train on, one to measure on."""

    train: SourceConfig
    eval: SourceConfig


def check_pipes(data: DataConfig | PretrainDataConfig) -> None:
    """Raises ValueError for a shard pattern that runs a command, unless that is allowed."""
    if data.allow_pipe:
        return
    for where, source in named_sources(data, "data"):
        for pattern in [source.shards] if isinstance(source.shards, str) else source.shards:
            refused = pipe_problem(pattern)
            if refused:
                raise ValueError(f"{where}.shards: {' '.join(refused).removesuffix('.')}")


def check_class_names(data: DataConfig | PretrainDataConfig) -> None:
    """Raises ValueError for a set with `caption: cls` where data.classes is null."""
    if data.classes is not None:
        return
    for where, source in named_sources(data, "data"):
        if source.caption == "cls":
            raise ValueError(
                f"{where}.caption is cls but data.classes is null; name the JSON file with the "
                "class names"
            )


def named_sources(section: Section, where: str) -> Iterator[tuple[str, SourceConfig]]:
    """Every set of a section with its configuration key; `where` is the section's own."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, SourceConfig):
            yield f"{where}.{name}", value
        elif isinstance(value, Section):
            yield from named_sources(value, f"{where}.{name}")
        elif name == "untouched":
            yield from ((f"{where}.{name}.{key}", source) for key, source in value.items())
