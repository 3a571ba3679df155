"""One set of image-text pairs: its shards, its captions, and which patterns are refused."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from dist_erase.config.secrets import has_login
from dist_erase.config.section import Section

SIGN_IN = (
    "Sign in through the environment or the store's own files (AWS_PROFILE and ~/.aws, "
    "GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN, ~/.netrc)"
)


def check_templates(value: list[str]) -> list[str]:
    """Raises ValueError unless each template has one {} and nothing else in braces."""
    if not value:
        raise ValueError("give at least one template")
    for template in value:
        if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
            raise ValueError(f"template {template!r} must contain {{}} exactly once")
    return value


def runs_a_command(pattern: str) -> bool:
    """Whether a pattern is a command whose output is the shard."""
    return pattern.lstrip().startswith(("pipe:", "|"))


def pipe_problem(pattern: str) -> tuple[str, str] | None:
    """What forbids a pattern that runs a command, where data.allow_pipe does not allow it."""
    if not runs_a_command(pattern):
        return None
    return (
        "pipe: runs a command, which can hang, break off, and shows its credentials to everyone on "
        "the machine.",
        "Copy the shards, name their URL (s3://, gs://, hf://, https://), or set "
        "data.allow_pipe=true.",
    )


def pattern_problem(pattern: str) -> tuple[str, str] | None:
    """What forbids a shard pattern and what to do: chains, credentials."""
    if runs_a_command(pattern):
        return None
    if "::" in pattern.partition("://")[0] and "://" in pattern:
        return (
            f"{pattern.split('::')[0]}:: chains file systems, which is not supported.",
            "Write a plain URL; data.block_cache keeps blocks on a local disk.",
        )
    if has_login(pattern):
        return "a URL holds a login, and run folders keep the configuration.", f"{SIGN_IN}."
    return None


class SourceConfig(Section):
    """One set of image-text pairs in webdataset shards."""

    shards: str | list[str] = Field(
        description="Brace or glob pattern of tar files, or a list of such patterns: local paths, "
        "`s3://`, `gs://`, `hf://`, `https://` (braces only) or another fsspec URL."
    )
    caption: str = Field(
        "txt",
        description="Where a sample's caption stands: `txt` (the whole .txt member), `txt:lines` "
        "(each line of it is a caption), `json:KEY` (a field of the .json member, a text or a list "
        "of texts; dots in KEY lead into objects), `cls` (a class number, put into `templates`). "
        "Of several captions one is drawn by seed for each sample and pass; evaluation takes the "
        "first.",
    )
    templates: list[str] = Field(
        default_factory=lambda: ["a photo of a {}."],
        description="With `caption: cls`, prompts with {} for the class name; one is drawn by "
        "seed for each sample and pass. No effect otherwise.",
    )
    weights: list[float] | None = Field(
        None,
        description="One positive number per pattern of `shards`: how often its samples are seen "
        "relative to those of the largest weight. null = all alike.",
    )
    max_shards: int | None = Field(
        None, ge=1, description="Use only this many shards, drawn by seed; null = all."
    )
    max_samples: int | None = Field(
        None, ge=1, description="Use only this many samples, drawn by seed; null = all."
    )

    @field_validator("shards")
    @classmethod
    def patterns_name_files(cls, value: str | list[str]) -> str | list[str]:
        """No pattern runs a command or holds a login."""
        for pattern in [value] if isinstance(value, str) else value:
            refused = pattern_problem(pattern)
            if refused:
                raise ValueError(" ".join(refused).removesuffix("."))
        return value

    @model_validator(mode="after")
    def weights_fit_the_patterns(self) -> SourceConfig:
        """As many positive weights as patterns."""
        if self.weights is None:
            return self
        patterns = 1 if isinstance(self.shards, str) else len(self.shards)
        if len(self.weights) != patterns:
            raise ValueError(
                f"weights has {len(self.weights)} numbers for {patterns} patterns of shards; give "
                "one number per pattern, or null"
            )
        if self.max_samples is not None:
            raise ValueError(
                "weights and max_samples are both given; set one of them to null (max_shards goes "
                "with weights)"
            )
        if min(self.weights) <= 0:
            raise ValueError(
                f"weights are {self.weights}; each must be above 0 (remove the pattern instead)"
            )
        return self

    @field_validator("caption")
    @classmethod
    def caption_names_a_member(cls, value: str) -> str:
        """Accepts txt, txt:lines, cls and json:KEY."""
        if value in ("txt", "txt:lines", "cls") or (value.startswith("json:") and len(value) > 5):
            return value
        raise ValueError(f"caption is {value!r}; write txt, txt:lines, cls or json:KEY")

    @field_validator("templates")
    @classmethod
    def templates_have_a_slot(cls, value: list[str]) -> list[str]:
        """Each template has exactly one {}."""
        return check_templates(value)
