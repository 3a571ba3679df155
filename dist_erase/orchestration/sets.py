"""The sets that a data command works on: those of a configuration, or those that patterns name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dist_erase.config.data import MAX_PIXELS, StreamingConfig, named_sources
from dist_erase.config.load import kind_of, load_config
from dist_erase.config.model import ModelConfig, PretrainModelConfig
from dist_erase.config.run import NamedRunConfig, PretrainConfig, RunConfig
from dist_erase.config.secrets import public
from dist_erase.config.source import SourceConfig, pattern_problem, pipe_problem
from dist_erase.data.captions import CaptionPlan, read_class_names
from dist_erase.data.source import SourceSettings
from dist_erase.errors import UserError
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.run_folder import INDEX, index_cache

_CONFIG_SUFFIXES = (".yaml", ".yml")
_DATA = "data."


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """One set.

    Attributes:
        name: its configuration key, or the pattern.
        stream: what its samples' `stream` is called in files: the key without `data.`, or the
            pattern.
        source: patterns and captions.
        max_corrupt_fraction: share of its samples that may be unusable; None = the set is read in
            full, so all must be sound.
    """

    name: str
    stream: str
    source: SourceConfig
    max_corrupt_fraction: float | None

    @property
    def tolerant(self) -> bool:
        """Whether a run goes on without the unusable ones."""
        return bool(self.max_corrupt_fraction)


@dataclass(frozen=True, kw_only=True)
class ChosenSets:
    """What a data command was asked about.

    Attributes:
        sets: in the configuration's order.
        index_dir: where counts and scans are kept.
        settings: how shards are read.
        seed: draws the shards that `max_shards` asks for.
        classes_file: names the classes; None if not given.
        max_pixels: `data.max_pixels`.
        model: of the configuration; None with patterns.
    """

    sets: tuple[NamedSet, ...]
    index_dir: Path
    settings: SourceSettings
    seed: int
    classes_file: str | None
    max_pixels: int
    model: ModelConfig | PretrainModelConfig | None

    def captions(self, chosen: NamedSet) -> CaptionPlan:
        """The plan of a set's captions; UserError if class names are needed and not known."""
        needs_classes = chosen.source.caption == "cls"
        if needs_classes and self.classes_file is None:
            raise UserError(
                "--caption",
                "is cls, which needs class names.",
                "Give a configuration with data.classes instead of patterns.",
            )
        names = read_class_names(self.classes_file) if needs_classes and self.classes_file else ()
        return CaptionPlan.of(chosen.source, names)


def choose_sets(
    arguments: Sequence[str], *, index_dir: Path | None = None, caption: str | None = None
) -> ChosenSets:
    """The sets of `CONFIG [KEY=VALUE...]`, or of `PATTERN...`, each a set of its own.

    Args:
        arguments: a name that ends in .yaml or .yml is a configuration, anything else a pattern.
        index_dir: instead of the place where runs keep their index.
        caption: where captions stand; with patterns only.

    Raises:
        UserError: nothing is given, or the configuration does not fit.
    """
    if not arguments:
        raise UserError(
            "CONFIG", "is not given.", "Name a run's YAML file, or patterns of shards in quotes."
        )
    if not arguments[0].endswith(_CONFIG_SUFFIXES):
        return _of_patterns(arguments, index_dir, caption or "txt")
    if caption is not None:
        raise UserError("--caption", "is given with a configuration.", "Set it there.")
    config = _load(Path(arguments[0]), arguments[1:])
    data = config.data
    return ChosenSets(
        sets=tuple(_named(where, source, data) for where, source in named_sources(data, "data")),
        index_dir=index_dir or index_cache(config),
        settings=SourceSettings.of(data),
        seed=config.seed,
        classes_file=data.classes,
        max_pixels=data.max_pixels,
        model=config.model,
    )


def _load(path: Path, overrides: Sequence[str]) -> RunConfig | PretrainConfig:
    if kind_of(path) is PretrainConfig:
        return absolute(load_config(path, overrides, PretrainConfig).config)
    return absolute(load_config(path, overrides, RunConfig).config)


def _named(where: str, source: SourceConfig, data: StreamingConfig) -> NamedSet:
    stream = where.removeprefix(_DATA)
    is_held_out = stream.split(".")[0] == "eval"
    return NamedSet(
        name=where,
        stream=stream,
        source=source,
        max_corrupt_fraction=None if is_held_out else data.max_corrupt_fraction,
    )


def _of_patterns(patterns: Sequence[str], index_dir: Path | None, caption: str) -> ChosenSets:
    is_field = caption.startswith("json:") and len(caption) > 5
    if caption not in ("txt", "txt:lines", "cls") and not is_field:
        raise UserError("--caption", f"is {caption!r}.", "Write txt, txt:lines, cls or json:KEY.")
    for pattern in patterns:
        if refused := pattern_problem(pattern) or pipe_problem(pattern):
            raise UserError("PATTERN", *refused)
    return ChosenSets(
        sets=tuple(
            NamedSet(
                name=public(pattern),
                stream=public(pattern),
                source=SourceConfig(shards=pattern, caption=caption),
                max_corrupt_fraction=0.0,
            )
            for pattern in patterns
        ),
        index_dir=index_dir or Path(NamedRunConfig().dir).absolute() / INDEX,
        settings=SourceSettings(),
        seed=0,
        classes_file=None,
        max_pixels=MAX_PIXELS,
        model=None,
    )
