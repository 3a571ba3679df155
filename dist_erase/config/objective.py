"""The `objective` section: the three modules of CLIPErase and their weights."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from dist_erase.config.section import Section

Preset = Literal["default", "paper", "joint_ce", "mse_zero"]


class ForgetConfig(Section):
    """Forgetting Module."""

    weight: float = Field(3.0, ge=0, description="λ_F; 0 = module off.")
    loss: Literal["cosine", "joint_ce", "mse_zero", "uniform", "npo", "redirect"] = Field(
        "cosine", description="How the association is disrupted; see docs/method.md."
    )
    floor: Literal["mismatched", "per_pair", "none"] | float = Field(
        "mismatched",
        description="Similarity at which a forget pair counts as forgotten: the teacher's mean "
        "over mismatched pairs, the same for each pair, none (the paper), or a number. "
        "Used by `cosine` only.",
    )
    side: Literal["both", "above"] = Field(
        "both", description="Pull towards the floor from both sides, or only from above."
    )
    towers: Literal["joint", "each"] = Field(
        "joint",
        description="each: also act on student-teacher pairs, so that old cached vectors of one "
        "tower no longer find what the other tower forgot.",
    )


class RetainConfig(Section):
    """Retention Module."""

    weight: float = Field(1.0, ge=0, description="λ_R; 0 = module off.")
    soft_targets: bool = Field(True, description="Equal captions are positives of each other.")


class ConsistencyConfig(Section):
    """Consistency Module."""

    weight: float = Field(3.0, ge=0, description="λ_C; 0 = module off.")
    loss: Literal["kl_logits", "kl_features", "l2", "cosine"] = Field(
        "kl_logits", description="What is kept: the teacher's logits, or its embeddings."
    )
    anchor: float = Field(
        3.0, ge=0, description="Weight of the L2 anchor on retain embeddings; 0 = off."
    )
    on: Literal["retain"] = Field(
        "retain",
        description="Pairs that are kept consistent. Forget pairs are refused: keeping their "
        "cross-modal similarities revives the association.",
    )


_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "paper": {
        "forget": {"floor": "none", "side": "above"},
        "retain": {"soft_targets": False},
        "consistency": {"anchor": 0.0},
    },
    "joint_ce": {
        "forget": {"loss": "joint_ce", "floor": "none"},
        "retain": {"soft_targets": False},
        "consistency": {"anchor": 0.0},
    },
    "mse_zero": {
        "forget": {"loss": "mse_zero", "floor": "none", "weight": 1.0},
        "retain": {"weight": 0.0},
        "consistency": {"loss": "l2", "weight": 1.0, "anchor": 0.0},
    },
}


class ObjectiveConfig(Section):
    """What is minimised: λ_R L_R + λ_F L_F + λ_C L_C + anchor."""

    preset: Preset = Field("default", description="Sets the defaults of all that follows.")
    forget: ForgetConfig = Field(default_factory=ForgetConfig)
    retain: RetainConfig = Field(default_factory=RetainConfig)
    consistency: ConsistencyConfig = Field(default_factory=ConsistencyConfig)
    combine: Literal["sum"] = Field("sum", description="How the terms' gradients are combined.")

    @model_validator(mode="before")
    @classmethod
    def preset_fills_what_is_not_set(cls, value: Any) -> Any:
        """Explicit keys win over the preset's."""
        if not isinstance(value, dict):
            return value
        name = value.get("preset", "default")
        preset = _PRESETS.get(name, {}) if isinstance(name, str) else {}
        merged = dict(value)
        for section, keys in preset.items():
            given = value.get(section)
            if given is None or isinstance(given, dict):
                merged[section] = keys | (given or {})
        return merged

    @model_validator(mode="after")
    def something_is_minimised(self) -> ObjectiveConfig:
        """All weights zero would train nothing."""
        weights = (self.forget.weight, self.retain.weight, self.consistency.weight)
        if not any(weights) and not self.consistency.anchor:
            raise ValueError("every weight is 0; give at least one module a weight")
        return self
