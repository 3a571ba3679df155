from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from training_cases import TINY, Case, make_student

from dist_erase.batch import Embeddings
from dist_erase.config.model import ModelConfig
from dist_erase.config.run import RunConfig
from dist_erase.distributed.context import RankContext
from dist_erase.errors import UserError
from dist_erase.models.export import export_model
from dist_erase.models.frozen import load_frozen
from dist_erase.models.resolve import load_tokenizer
from dist_erase.teacher.local import LocalTeacher
from dist_erase.training.data_plan import plan_run
from dist_erase.training.floor import measure_floor, mismatched_levels
from dist_erase.training.recipe import Recipe, recipe_for_run


def embeddings(n: int, seed: int) -> Embeddings:
    draw = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(n, 5, generator=draw), dim=1) for _ in range(2))
    return Embeddings(image=image, text=text)


def naive_levels(
    forget: Embeddings, forget_captions: Tensor, retain: Embeddings, retain_captions: Tensor
) -> list[float]:
    levels = []
    for i in range(len(forget.image)):
        met = []
        for j in range(len(retain.image)):
            if forget_captions[i] != retain_captions[j]:
                met.append(float(forget.image[i] @ retain.text[j]))
                met.append(float(retain.image[j] @ forget.text[i]))
        levels.append(sum(met) / len(met) if met else math.nan)
    return levels


def test_levels_are_means_over_mismatched_pairs_in_both_directions():
    forget, retain = embeddings(4, 1), embeddings(6, 2)
    captions = torch.tensor([7, 8, 7, 9]), torch.tensor([1, 7, 2, 7, 8, 1])
    got = mismatched_levels(forget, captions[0], retain, captions[1])
    assert got.dtype == torch.float64
    # 1e-6: float32 products in another order.
    assert got.tolist() == pytest.approx(
        naive_levels(forget, captions[0], retain, captions[1]), abs=1e-6
    )


def test_more_forget_pairs_than_one_chunk():
    forget, retain = embeddings(1030, 1), embeddings(3, 2)
    captions = torch.arange(1030) % 7, torch.tensor([0, 1, 2])
    got = mismatched_levels(forget, captions[0], retain, captions[1])
    assert got.tolist() == pytest.approx(
        naive_levels(forget, captions[0], retain, captions[1]), abs=1e-6
    )


def test_a_pair_that_meets_no_other_caption_has_no_level():
    levels = mismatched_levels(
        embeddings(2, 1), torch.tensor([3, 4]), embeddings(2, 2), torch.tensor([3, 3])
    )
    assert levels[0].isnan()
    assert not levels[1].isnan()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The configuration of a small run, its student, and its teacher."""
    folder = tmp_path_factory.mktemp("model")
    student = make_student(Case())
    state = dict(student.clip.state_dict())
    export_model(
        folder / "model",
        state,
        scalar_names=student.scalar_names,
        model_cfg=student.source.model_cfg,
        spec=student.image_spec,
    )
    model = ModelConfig(architecture=TINY, pretrained=f"local-dir:{folder / 'model'}")
    clip = load_frozen(model, dtype="fp32", device="cpu", micro_batch=4)
    return model, student, LocalTeacher(clip)


@pytest.fixture
def measured(original, tmp_path, write_shards):
    """The floor under an objective, and the forget and retain sets it is made from."""
    model, student, teacher = original
    context = RankContext(rank=0, world=1, device=torch.device("cpu"))
    write_shards(tmp_path / "forget", [3, 2], captions=["a seven", "7"])
    write_shards(tmp_path / "retain", [4, 3], captions=["a one", "a two", "7"], first=50)

    def measure(retain: str = "retain", **forget) -> tuple[list[float], Recipe]:
        one = {"shards": f"{tmp_path}/forget/*.tar"}
        other = {"shards": f"{tmp_path}/{retain}/*.tar"}
        config = RunConfig.model_validate(
            {
                "model": model.model_dump(),
                "data": {
                    "forget": one,
                    "retain": other,
                    "allow_overlap": True,
                    "eval": {"forget": one, "retain": other},
                },
                "objective": {"forget": forget},
                "train": {"forget_batch": 5, "retain_batch": 5},
                "evaluate": {"batch": 3},
            }
        )
        recipe = recipe_for_run(config, plan_run(config, tmp_path, look_for_overlap=False))
        tokenizer = load_tokenizer(recipe.source)
        return measure_floor(recipe, student, teacher, tokenizer, context), recipe

    return measure


def test_the_floor_is_measured_by_the_teacher_on_the_sets_of_the_run(measured, original):
    _, student, teacher = original
    each, recipe = measured(floor="per_pair")
    answers = []
    for whole in recipe.data.floor_sets:
        tokenizer = load_tokenizer(recipe.source)
        (samples,) = whole.read(student.image_spec, tokenizer, batch=99)
        answers += [teacher.collect(teacher.submit(samples, None)).retain, samples.caption_ids]
    expected = naive_levels(*answers)
    assert len(each) == 5
    assert each == pytest.approx(expected, abs=1e-6)
    assert max(each) - min(each) > 1e-4
    mean, _ = measured(floor="mismatched")
    assert mean == pytest.approx([sum(expected) / 5], abs=1e-6)


def test_other_floors_need_no_measuring(measured):
    assert measured(floor=0.25)[0] == [0.25]
    assert measured(floor="none")[0] == []
    assert measured(loss="npo")[0] == []
    assert measured(weight=0.0)[0] == []


def test_a_retain_set_with_no_other_caption_is_refused(measured, tmp_path, write_shards):
    write_shards(tmp_path / "alike", [6], captions=["a seven"], first=50)
    with pytest.raises(UserError, match=r"^objective\.forget\.floor: .*no mismatched pairs"):
        measured("alike", floor="mismatched")
