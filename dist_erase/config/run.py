"""The roots: what `run` and `pretrain` read, with the rules that span sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dist_erase.config.data import DataConfig, PretrainDataConfig, check_class_names, check_pipes
from dist_erase.config.model import ModelConfig, PretrainModelConfig
from dist_erase.config.objective import ObjectiveConfig
from dist_erase.config.secrets import public, secret_in
from dist_erase.config.section import Section
from dist_erase.config.source import check_templates
from dist_erase.config.train import PretrainTrainConfig, TrainConfig


class NamedRunConfig(Section):
    """The run folder is DIR/NAME."""

    name: str = Field("my-run", description="Becomes a metric label: no personal names.")
    dir: str = Field("runs", description="A folder that every node sees under this path.")

    @field_validator("name")
    @classmethod
    def name_is_a_folder_name(cls, value: str) -> str:
        """Letters, digits, dot, dash, underscore."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError(
                f"name {value!r} must start with a letter or digit and hold only those and . _ -"
            )
        return value


class CacheConfig(Section):
    """Teacher cache; not available yet."""

    mode: Literal["off"] = "off"


class TeacherConfig(Section):
    """The frozen original model that the consistency term asks."""

    kind: Literal["pool", "local"] = Field(
        "pool", description="pool: its own Ray actors; local: a copy in every training process."
    )
    replicas: int = Field(2, ge=1, description="Actors of the pool.")
    dtype: Literal["bf16", "fp32"] = Field("bf16", description="Of the teacher's forward.")
    prefetch: int = Field(2, ge=1, description="Batches asked for ahead of the step.")
    micro_batch: int = Field(64, ge=1, description="Pairs per teacher forward.")
    timeout_seconds: float = Field(
        300.0, gt=0, description="An answer later than this is asked for again at another replica."
    )
    cache: CacheConfig = Field(default_factory=CacheConfig)


class StopConfig(Section):
    """Goals (stop early when met) and the budget of damage; checked at live evaluations."""

    forget_top1_below: float | None = Field(
        None, ge=0, le=1, description="Goal for zero-shot top-1 on the forget set, as a share."
    )
    forget_recall_below: float | None = Field(
        None, ge=0, le=1, description="Goal for recall@1 of the forget set, both directions."
    )
    retain_drop_above: float | None = Field(
        None, ge=0, le=1, description="Budget: what the retain set may lose before the run ends."
    )


class MeasureConfig(Section):
    """Measuring a finished model."""

    templates: list[str] = Field(
        default_factory=lambda: ["a photo of a {}."],
        description="Zero-shot prompts; their embeddings are averaged for each class.",
    )
    batch: int = Field(128, ge=1, description="Pairs per forward.")

    @field_validator("templates")
    @classmethod
    def templates_have_a_slot(cls, value: list[str]) -> list[str]:
        """Each template has exactly one {}."""
        return check_templates(value)


class EvaluateConfig(MeasureConfig):
    """Measuring, also while training."""

    every_steps: int | None = Field(
        None, ge=1, description="Live evaluation while training; null = only before and after."
    )


class RayConfig(Section):
    """Where and how the job runs on Ray."""

    address: str = Field("auto", description="auto | local (embedded) | HOST:PORT")
    workers: int = Field(2, ge=1, description="Student ranks (the world size).")
    resources_per_worker: dict[str, float] = Field(
        default_factory=lambda: {"CPU": 1.0}, description="Of each rank, by Ray's names."
    )
    teacher_resources: dict[str, float] = Field(
        default_factory=lambda: {"CPU": 1.0}, description="Of each replica and each evaluation."
    )
    teacher_placement: Literal["pack", "spread"] = Field(
        "pack",
        description="Teacher replicas on few nodes (pack: others stay whole for workers) or on "
        "many (spread: one lost node takes few of them).",
    )
    autoscale_seconds: float = Field(
        0.0,
        ge=0,
        description="How long an autoscaler may take to bring the nodes that are missing; 0 = "
        "there is none, and a run that does not fit the cluster is refused at once.",
    )
    max_failures: int = Field(3, ge=0, description="Restarts after a worker's death.")

    @field_validator("resources_per_worker", "teacher_resources")
    @classmethod
    def resources_are_positive(cls, value: dict[str, float]) -> dict[str, float]:
        """Ray places only what asks for something."""
        if not value or any(amount <= 0 for amount in value.values()):
            raise ValueError(f"resources {value} must name at least one, each above 0")
        return value


class ObserveConfig(Section):
    """Metrics endpoint and console."""

    bind: str = Field("127.0.0.1", description="Address of the metrics endpoint.")
    port: int = Field(0, ge=0, le=65535, description="0 = a free port, printed at the start.")
    grace_seconds: float = Field(
        15.0, ge=0, description="How long the endpoint may stay up for a last scrape at the end."
    )
    gradients_every: int = Field(
        0,
        ge=0,
        description="Steps between measurements of each term's gradient norm and of the cosine "
        "of forgetting with the rest; 0 = never. It costs the time of one more step for each term, "
        "and memory for one gradient and a share of one for each term.",
    )
    per_node: bool = Field(
        False,
        description="One address on each node, at the same port, for the processes there (one "
        "named port a pod); false = one address for the run. Needs a bind that others can reach.",
    )
    web_config: str | None = Field(
        None,
        description="File with TLS and passwords of the endpoint, in Prometheus's web-config "
        "format; every node reads it.",
    )
    pushgateway: str | None = Field(
        None,
        description="URL of a Pushgateway to push to as well; the group is deleted at the end. A "
        "password comes from ~/.netrc.",
    )
    console: Literal["auto", "rich", "plain"] = Field(
        "auto", description="Live view or lines; auto = live on a terminal that fits."
    )

    @field_validator("pushgateway")
    @classmethod
    def url_holds_no_secret(cls, value: str | None) -> str | None:
        """Run folders keep the configuration."""
        if value is not None and public(value) != value:
            raise ValueError(
                "pushgateway holds a login or a query, and run folders keep the configuration; "
                "write name and password into ~/.netrc"
            )
        return value

    @model_validator(mode="after")
    def nodes_can_be_reached(self) -> ObserveConfig:
        """Each node's own loopback is nobody's address."""
        if self.per_node and self.bind in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(
                f"per_node needs a bind that other machines can reach, not {self.bind}; set bind "
                "to 0.0.0.0 (web_config protects it), or per_node to false"
            )
        return self


class RunConfig(Section):
    """Everything that `dist-erase run` needs."""

    seed: int = Field(0, ge=0)
    run: NamedRunConfig = Field(default_factory=NamedRunConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    stop: StopConfig = Field(default_factory=StopConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    ray: RayConfig = Field(default_factory=RayConfig)
    observe: ObserveConfig = Field(default_factory=ObserveConfig)
    deepspeed: dict[str, Any] = Field(
        default_factory=dict,
        description="Raw DeepSpeed JSON, merged into ours; conflicts are refused by name.",
    )

    @field_validator("deepspeed")
    @classmethod
    def deepspeed_holds_no_secret(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Run folders keep the configuration."""
        found = secret_in(_texts(value))
        if found:
            raise ValueError(
                f"{found} looks like a credential, and run folders keep the configuration; give it "
                "to the process through its environment"
            )
        return value

    @model_validator(mode="after")
    def goals_need_live_evaluation(self) -> RunConfig:
        """A goal that is never looked at would never stop the run."""
        given = [k for k, v in self.stop.model_dump().items() if v is not None]
        if given and self.evaluate.every_steps is None:
            raise ValueError(
                f"stop.{given[0]} is set but evaluate.every_steps is null; set it to a number of "
                "steps, or remove the goal"
            )
        return self

    @model_validator(mode="after")
    def class_captions_need_names(self) -> RunConfig:
        """`caption: cls` needs data.classes."""
        check_class_names(self.data)
        return self

    @model_validator(mode="after")
    def commands_are_allowed(self) -> RunConfig:
        """`pipe:` patterns need data.allow_pipe."""
        check_pipes(self.data)
        return self


def _texts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Only texts can be secrets: DeepSpeed has numbers about tokens, too."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            found[key] = _texts(value)
        elif isinstance(value, str):
            found[key] = value
    return found


class PretrainConfig(Section):
    """Everything that `dist-erase pretrain` needs."""

    seed: int = Field(0, ge=0)
    run: NamedRunConfig = Field(default_factory=lambda: NamedRunConfig(name="original"))
    model: PretrainModelConfig
    data: PretrainDataConfig
    train: PretrainTrainConfig = Field(default_factory=PretrainTrainConfig)
    evaluate: MeasureConfig = Field(default_factory=MeasureConfig)
    observe: ObserveConfig = Field(default_factory=ObserveConfig)

    @model_validator(mode="after")
    def class_captions_need_names(self) -> PretrainConfig:
        """`caption: cls` needs data.classes."""
        check_class_names(self.data)
        return self

    @model_validator(mode="after")
    def commands_are_allowed(self) -> PretrainConfig:
        """`pipe:` patterns need data.allow_pipe."""
        check_pipes(self.data)
        return self
