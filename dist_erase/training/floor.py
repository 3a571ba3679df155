"""The floor: how similar pairs are that were never paired, according to the teacher.

DESIGN section 2: φ is the mean over both directions of ⟨v°_i, t°_j⟩ and ⟨v°_j, t°_i⟩ for forget
pairs i and up to 4,096 retain pairs j with another caption. "As if never paired" is the aim.
Legend of the shape suffixes: F forget pairs, R retain pairs, D components.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dist_erase.batch import Embeddings, Samples
from dist_erase.data.sample import Tokenizer
from dist_erase.distributed.context import RankContext
from dist_erase.errors import UserError
from dist_erase.models.student import Student
from dist_erase.teacher.client import TeacherClient
from dist_erase.training.data_plan import WholeSet
from dist_erase.training.recipe import Recipe
from dist_erase.training.slices import embed_over_ranks


def mismatched_levels(
    forget: Embeddings, forget_captions: Tensor, retain: Embeddings, retain_captions: Tensor
) -> Tensor:
    """The level of each forget pair.

    Args:
        forget: normalised [F, D] each.
        forget_captions: int64 [F].
        retain: normalised [R, D] each.
        retain_captions: int64 [R]; equal numbers are equal captions, and left out.

    Returns:
        float64 [F]: pair i's mean over the mismatched retain pairs and both directions; NaN
        where every retain pair has the same caption.
    """
    levels = []
    for chunk in torch.split(torch.arange(len(forget.image)), 1024):
        differs = (forget_captions[chunk, None] != retain_captions[None, :]).double()
        one_way = forget.image[chunk] @ retain.text.T
        other_way = forget.text[chunk] @ retain.image.T
        levels.append(((one_way + other_way).double() / 2 * differs).sum(1) / differs.sum(1))
    return torch.cat(levels)


def measure_floor(
    recipe: Recipe,
    student: Student,
    teacher: TeacherClient | None,
    tokenizer: Tokenizer,
    context: RankContext,
) -> list[float]:
    """The floor that the configuration asks for (a collective when it has to be measured).

    Returns:
        [] for none, one number, or one for each forget pair.

    Raises:
        UserError: no retain pair has another caption than a forget pair.
    """
    if not recipe.objective(student.family).needs_floor:
        return []
    if recipe.floor == "none" or recipe.data.floor_sets is None:
        return []
    if isinstance(recipe.floor, float):
        return [recipe.floor]
    if teacher is None:
        raise AssertionError("a measured floor needs a teacher")

    def embed(samples: Samples) -> Embeddings:
        answer = teacher.collect(teacher.submit(samples, None)).retain
        assert answer is not None
        return answer

    def whole(chosen: WholeSet) -> tuple[Embeddings, Tensor]:
        def read(start: int, stop: int):  # type: ignore[no-untyped-def]
            batch = recipe.evaluate_batch
            return chosen.read(student.image_spec, tokenizer, batch=batch, start=start, stop=stop)

        embeddings, names = embed_over_ranks(len(chosen.index), read, embed, context)
        return embeddings, names["caption_ids"]

    forget, retain = (whole(chosen) for chosen in recipe.data.floor_sets)
    levels = mismatched_levels(*forget, *retain)
    if bool(levels.isnan().any()):
        raise UserError(
            "objective.forget.floor",
            "some forget captions are the only captions of the retain set, so there are no "
            "mismatched pairs to measure.",
            "Give retain pairs with other captions, or set objective.forget.floor to a number.",
        )
    return levels.tolist() if recipe.floor == "per_pair" else [float(levels.mean())]
