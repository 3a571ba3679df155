"""Small erasing runs for tests: what is trained, on which batches, and the real path on a rank."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from dist_erase.batch import Embeddings, PairBatch, Samples, TeacherAnswer
from dist_erase.distributed.context import RankContext
from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.models.resolve import resolve
from dist_erase.models.student import Student
from dist_erase.training.deepspeed_config import deepspeed_json
from dist_erase.training.engine import Engine, make_optimizer, start_deepspeed
from dist_erase.training.step import StepResult, TeacherConstants, training_step

MODELS = Path(__file__).parents[2] / "configs" / "models"
TINY = str(MODELS / "tiny.json")
BATCH_NORM = str(MODELS / "tiny-bn.json")
SIGMOID = str(Path(__file__).parent / "tiny-siglip.json")

RATES = (1e-3, 5e-4, 2e-3)  # unequal, so that a rate that sticks is seen
FLOOR = 0.05
CONSTANTS = TeacherConstants(scale=20.0, bias=-3.0)  # not those of any model here
WEIGHTS = {"forgetting": 3.0, "retention": 1.0, "consistency": 3.0, "anchor": 3.0}
# Equal captions within and across the slices of ranks; 8 and 6 are in both sets.
CAPTIONS = {
    "forget": (7, 7, 8, 9, 7, 8, 7, 6),
    "retain": (1, 2, 1, 8, 3, 3, 1, 4, 5, 2, 2, 6, 10, 11, 1, 12),
}


@dataclass(frozen=True)
class Case:
    """One run; stage, micro_batch and overlap_comm must make no difference to its result."""

    model: str = TINY
    stage: Literal[0, 1, 2, 3] = 0
    micro_batch: int | None = None
    logit_scale: Literal["frozen", "trained"] = "frozen"
    grad_clip: float = 0.0
    per_pair_floor: bool = False
    overlap_comm: bool | None = None

    def __str__(self) -> str:
        plain = ("model", "stage", "micro_batch")
        words = [Path(self.model).stem, f"zero{self.stage}", f"micro_{self.micro_batch}"]
        words += [f"{k}_{v}" for k, v in vars(self).items() if k not in plain and v != _PLAIN[k]]
        return "-".join(words)


_PLAIN = vars(Case())


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
    draw = torch.Generator().manual_seed(2 * step + (name == "forget"))
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


def start_rank() -> RankContext:
    """Of the process group that `run_ranks` made; DeepSpeed is ready after it."""
    start_deepspeed("gloo")
    return rank_context()


def rank_context() -> RankContext:
    """This process among the ranks."""
    return RankContext(
        rank=dist.get_rank(), world=dist.get_world_size(), device=torch.device("cpu")
    )


def make_student(case: Case, **changed: Any) -> Student:
    """A fresh student with weights drawn by a fixed seed."""
    torch.manual_seed(0)
    options = {"precision": "fp32", "logit_scale": case.logit_scale} | changed
    student = Student(resolve(case.model, None), **options)
    draw_batch_norms(student.clip)
    return student


@torch.no_grad()
def draw_batch_norms(model: nn.Module) -> None:
    """As if trained: fresh ones have a weight of 0 in each block, which cuts its gradient off."""
    draw = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.running_var):
                tensor.uniform_(0.5, 1.5, generator=draw)
            norm.running_mean.uniform_(-0.2, 0.2, generator=draw)
            norm.num_batches_tracked.fill_(7)


def make_engine(student: Student, case: Case, optimizer: str = "sgd") -> Engine:
    """This student under DeepSpeed; AdamW with weight decay, and so two parameter groups."""
    zero = {} if case.overlap_comm is None else {"overlap_comm": case.overlap_comm}
    return Engine(
        student,
        make_optimizer(
            [p for p in student.parameters() if p.requires_grad],
            kind=optimizer,
            lr=1.0,  # every step says its own
            betas=(0.9, 0.98),
            weight_decay=0.0 if optimizer == "sgd" else 0.1,
        ),
        deepspeed_json(
            zero_stage=case.stage, grad_clip=case.grad_clip, extra={"zero_optimization": zero}
        ),
    )


def default_objective(student: Student) -> ObjectiveSpec:
    """What `objective.preset: default` minimises."""
    return ObjectiveSpec(
        family=student.family,
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
        "spec": default_objective(engine.student),
        "batch": PairBatch(step=step, retain=retain.samples, forget=forget.samples),
        "teacher": TeacherAnswer(retain=retain.teacher, forget=None),
        "constants": CONSTANTS,
        "floor": forget.floor if case.per_pair_floor else torch.tensor(FLOOR),
        "lr": lr,
        "micro_batch": case.micro_batch,
        "context": context,
    }
    return training_step(engine, **(arguments | changed))


def digest(state: dict[str, Tensor]) -> str:
    """Equal for bit-equal tensors under equal names."""
    made = hashlib.sha256()
    for name in sorted(state):
        made.update(f"{name} {state[name].dtype}".encode() + state[name].numpy().tobytes())
    return made.hexdigest()
