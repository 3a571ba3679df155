"""Small erasing runs for tests: their batches, and the same run on real ranks and in one process.

The ranks take the real path (student, DeepSpeed engine, training step). The one process is plain
open_clip on the whole batch, the default objective written out, and torch's own SGD.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from dist_erase.batch import Embeddings, PairBatch, Samples, TeacherAnswer
from dist_erase.distributed.context import RankContext
from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.models.resolve import resolve
from dist_erase.models.student import Student
from dist_erase.training.deepspeed_config import deepspeed_json
from dist_erase.training.engine import Engine, make_optimizer
from dist_erase.training.step import StepResult, TeacherConstants, training_step

MODELS = Path(__file__).parents[2] / "configs" / "models"
TINY = str(MODELS / "tiny.json")
TINY_BATCH_NORM = str(MODELS / "tiny-bn.json")

RATES = (0.02, 0.01, 0.04)  # of the three steps; unequal, so that a rate that sticks is seen
FLOOR = 0.05
CONSTANTS = TeacherConstants(scale=20.0, bias=-3.0)
WEIGHTS = {"forgetting": 3.0, "retention": 1.0, "consistency": 3.0, "anchor": 3.0}
# Equal captions within and across the slices of ranks; 8 and 6 are in both sets.
CAPTIONS = {
    "forget": (7, 7, 8, 9, 7, 8, 7, 6),
    "retain": (1, 2, 1, 8, 3, 3, 1, 4, 5, 2, 2, 6, 10, 11, 1, 12),
}


@dataclass(frozen=True)
class Case:
    """One run: what is trained, and what must make no difference (stage, micro_batch, extra)."""

    model: str = TINY
    stage: Literal[0, 1, 2, 3] = 0
    micro_batch: int | None = None
    logit_scale: Literal["frozen", "trained"] = "frozen"
    grad_clip: float = 0.0
    per_pair_floor: bool = False
    overlap_comm: bool | None = None

    @property
    def task(self) -> Case:
        """The same run without what must make no difference."""
        return Case(
            model=self.model,
            logit_scale=self.logit_scale,
            grad_clip=self.grad_clip,
            per_pair_floor=self.per_pair_floor,
        )

    def __str__(self) -> str:
        differing = [
            f"{name}={value}"
            for name, value in vars(self).items()
            if name not in ("model", "stage", "micro_batch") and value != getattr(Case, name)
        ]
        return "-".join(
            [Path(self.model).stem, f"zero{self.stage}", f"micro{self.micro_batch}", *differing]
        )


@dataclass(kw_only=True)
class Trained:
    """What a run left; losses and norms by step."""

    weights: dict[str, Tensor]
    norms: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------
# Batches


@dataclass(frozen=True)
class WholeSet:
    """The global batch of one set, with the teacher's answer and each pair's floor."""

    samples: Samples
    teacher: Embeddings
    floor: Tensor

    def part(self, rank: int, world: int) -> WholeSet:
        """Rank `rank`'s rows."""
        size = len(self.samples) // world
        rows = slice(rank * size, (rank + 1) * size)
        return WholeSet(
            Samples(**{name: value[rows] for name, value in vars(self.samples).items()}),
            Embeddings(image=self.teacher.image[rows], text=self.teacher.text[rows]),
            self.floor[rows],
        )


@cache
def whole_set(name: str, step: int) -> WholeSet:
    """Drawn by step: images of 32 px, tokens by caption, a teacher that is nobody's model."""
    captions = torch.tensor(CAPTIONS[name])
    by_caption = torch.randint(1, 49408, (13, 16), generator=torch.Generator().manual_seed(5))
    draw = torch.Generator().manual_seed(10 * step + len(name) % 2)
    n = len(captions)
    samples = Samples(
        images=torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draw),
        tokens=by_caption[captions],
        caption_ids=captions,
        image_ids=torch.arange(n),
        labels=captions,
        positions=torch.arange(n),
    )
    image, text = (F.normalize(torch.randn(n, 32, generator=draw), dim=1) for _ in range(2))
    floor = FLOOR + 0.1 * torch.rand(n, generator=draw)
    return WholeSet(samples, Embeddings(image=image, text=text), floor)


# ---------------------------------------------------------------------------------------------
# The real path, on one of the ranks


def rank_context() -> RankContext:
    """Of the process group that `run_ranks` made."""
    return RankContext(
        rank=dist.get_rank(), world=dist.get_world_size(), device=torch.device("cpu")
    )


def make_engine(case: Case, *, optimizer: str = "sgd", lr: float = 1.0, **student: Any) -> Engine:
    """A fresh student under DeepSpeed; weights drawn by a fixed seed."""
    torch.manual_seed(0)
    built = Student(
        resolve(case.model, None),
        **({"precision": "fp32", "logit_scale": case.logit_scale} | student),
    )
    return engine_of(built, case, optimizer=optimizer, lr=lr)


def engine_of(student: Student, case: Case, *, optimizer: str, lr: float) -> Engine:
    """This student under DeepSpeed."""
    extra = {}
    if case.overlap_comm is not None:
        extra = {"zero_optimization": {"overlap_comm": case.overlap_comm}}
    return Engine(
        student,
        make_optimizer(
            [p for p in student.parameters() if p.requires_grad],
            kind=optimizer,
            lr=lr,
            betas=(0.9, 0.98),
            weight_decay=0.0 if optimizer == "sgd" else 0.1,
        ),
        deepspeed_json(zero_stage=case.stage, grad_clip=case.grad_clip, extra=extra),
    )


def spec_of(engine: Engine) -> ObjectiveSpec:
    """The default objective."""
    return ObjectiveSpec(
        family=engine.student.family,
        forget_weight=WEIGHTS["forgetting"],
        forget_loss="cosine",
        side="both",
        towers="joint",
        retain_weight=WEIGHTS["retention"],
        soft_targets=True,
        consistency_weight=WEIGHTS["consistency"],
        consistency_loss="kl_logits",
        anchor_weight=WEIGHTS["anchor"],
    )


def one_step(engine: Engine, case: Case, step: int, lr: float, **changed: Any) -> StepResult:
    """`training_step` on this rank's part of the batch of `step`."""
    context = rank_context()
    forget, retain = (
        whole_set(name, step).part(context.rank, context.world) for name in ("forget", "retain")
    )
    arguments: dict[str, Any] = {
        "teacher": TeacherAnswer(retain=retain.teacher, forget=None),
        "constants": CONSTANTS,
        "floor": forget.floor if case.per_pair_floor else torch.tensor(FLOOR),
        "lr": lr,
        "micro_batch": case.micro_batch,
        "context": context,
    }
    batch = PairBatch(step=step, retain=retain.samples, forget=forget.samples)
    return training_step(engine, spec_of(engine), batch, **(arguments | changed))


def train_on_ranks(case: Case) -> Trained:
    """Three SGD steps; a collective, alike on every rank."""
    engine = make_engine(case)
    results = [one_step(engine, case, step, lr) for step, lr in enumerate(RATES)]
    return Trained(
        weights=engine.full_state(),
        norms=[result.grad_norm for result in results],
        losses=[result.losses for result in results],
    )


# ---------------------------------------------------------------------------------------------
# One plain process


def plain_model(path: str) -> torch.nn.Module:
    """The model as open_clip builds it, with the weights of `make_engine`."""
    torch.manual_seed(0)
    return open_clip.create_model(resolve(path, None).name, output_dict=True).eval()


@cache
def train_plainly(case: Case) -> Trained:
    """The same three steps: one process, the whole batch, no DeepSpeed, none of our losses."""
    model = plain_model(case.model)
    for name in ("logit_scale", "logit_bias"):
        scalar = getattr(model, name, None)
        if scalar is not None:
            scalar.requires_grad_(case.logit_scale == "trained")
    changing = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(changing, lr=1.0)
    trained = Trained(weights={})
    for step, lr in enumerate(RATES):
        losses = _default_objective(model, step, per_pair_floor=case.per_pair_floor)
        optimizer.zero_grad()
        losses["total"].backward()
        limit = case.grad_clip or float("inf")
        trained.norms.append(float(torch.nn.utils.clip_grad_norm_(changing, limit)))
        trained.losses.append({name: float(value.detach()) for name, value in losses.items()})
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    trained.weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
    return trained


def _default_objective(
    model: Any, step: int, *, per_pair_floor: bool
) -> dict[str, Tensor]:
    forget, retain = whole_set("forget", step), whole_set("retain", step)
    v, t, scale, bias = _embed(model, forget.samples)
    aim = forget.floor if per_pair_floor else FLOOR
    losses = {"forgetting": ((v * t).sum(1) - aim).abs().mean()}

    v, t, scale, bias = _embed(model, retain.samples)
    old_v, old_t = retain.teacher.image, retain.teacher.text
    n = len(v)
    same = retain.samples.caption_ids[:, None] == retain.samples.caption_ids
    if bias is None:
        ours, theirs = scale * v @ t.T, CONSTANTS.scale * old_v @ old_t.T
        target = same / same.sum(1, keepdim=True)
        losses["retention"] = -sum((target * x.log_softmax(1)).sum() for x in (ours, ours.T)) / 2 / n
        losses["consistency"] = sum(
            (old.softmax(1) * (old.log_softmax(1) - new.log_softmax(1))).sum() / n
            for old, new in ((theirs, ours), (theirs.T, ours.T))
        )
    else:
        ours = scale * v @ t.T + bias
        p = (CONSTANTS.scale * old_v @ old_t.T + CONSTANTS.bias).sigmoid()
        sign = same.float() * 2 - 1
        losses["retention"] = -F.logsigmoid(sign * ours).sum() / n
        cross_entropy = F.binary_cross_entropy_with_logits(ours, p, reduction="sum")
        entropy = F.binary_cross_entropy(p, p, reduction="sum")
        losses["consistency"] = (cross_entropy - entropy) / n
    losses["anchor"] = ((v - old_v).square().sum() + (t - old_t).square().sum()) / n
    losses["total"] = sum(weight * losses[name] for name, weight in WEIGHTS.items())
    return losses


def _embed(model: Any, samples: Samples) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    config = model.visual.preprocess_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    out = model((samples.images / 255 - mean) / std, samples.tokens)
    return out["image_features"], out["text_features"], out["logit_scale"], out.get("logit_bias")
