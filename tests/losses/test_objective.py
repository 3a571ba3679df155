import pytest
import torch
from support.pairs import make_features, teacher_of

from dist_erase.errors import UserError
from dist_erase.losses.consistency import anchor, consistency
from dist_erase.losses.forgetting import forgetting
from dist_erase.losses.objective import ObjectiveSpec, diagnostics, objective
from dist_erase.losses.retention import retention
from dist_erase.losses.rows import Model

TEACHER = teacher_of(9)
FLOOR = torch.tensor(0.1, dtype=torch.float64)


def spec_of(**changes: object) -> ObjectiveSpec:
    values = {
        "family": "softmax",
        "forget_weight": 3.0,
        "forget_loss": "cosine",
        "side": "both",
        "towers": "joint",
        "retain_weight": 1.0,
        "soft_targets": True,
        "consistency_weight": 2.0,
        "consistency_loss": "kl_logits",
        "anchor_weight": 0.5,
    }
    return ObjectiveSpec(**(values | changes))


def test_total_is_the_weighted_sum_of_the_unweighted_terms():
    student = make_features(1).model()
    terms = objective(student=student, teacher=TEACHER, floor_b=FLOOR, spec=spec_of())
    options = {"loss": "cosine", "side": "both", "towers": "joint", "floor_b": FLOOR}

    expected = {
        "retention": retention(student, family="softmax", soft_targets=True),
        "forgetting": forgetting(student, TEACHER, family="softmax", **options),
        "consistency": consistency(student, TEACHER, loss="kl_logits", family="softmax"),
        "anchor": anchor(student, TEACHER),
    }
    assert terms.named == expected
    weights = {"retention": 1.0, "forgetting": 3.0, "consistency": 2.0, "anchor": 0.5}
    total = sum(weight * expected[name] for name, weight in weights.items())
    torch.testing.assert_close(terms.total, total, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["retention", "forgetting", "consistency", "anchor"])
def test_a_weight_of_zero_switches_its_term_off(name):
    weight = {"retention": "retain", "forgetting": "forget"}.get(name, name) + "_weight"
    student = make_features(1).model()
    full = objective(student=student, teacher=TEACHER, floor_b=None, spec=spec_of())
    less = objective(student=student, teacher=TEACHER, floor_b=None, spec=spec_of(**{weight: 0.0}))

    assert {**less.named, name: full.named[name]} == full.named
    assert name not in less.named
    left = full.total - getattr(spec_of(), weight) * full.named[name]
    torch.testing.assert_close(less.total, left, rtol=0, atol=1e-14)


def test_pretraining_is_retention_alone_without_teacher_or_forget_pairs():
    features = make_features(1)
    student = Model(forget=None, retain=features.model().retain, scale=features.scale, bias=None)
    spec = spec_of(forget_weight=0.0, consistency_weight=0.0, anchor_weight=0.0)

    assert not any([spec.needs_teacher_forget, spec.needs_teacher_retain, spec.needs_floor])
    terms = objective(student=student, teacher=None, floor_b=None, spec=spec)
    assert list(terms.named) == ["retention"]


def test_half_precision_rows_give_a_float32_objective():
    features = make_features(1, dtype=torch.bfloat16)
    teacher = teacher_of(9, dtype=torch.bfloat16)
    terms = objective(student=features.model(), teacher=teacher, floor_b=None, spec=spec_of())
    assert terms.total.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "floor", "forget", "retain"),
    [
        ({}, True, False, True),
        ({"consistency_weight": 0.0}, True, False, True),
        ({"consistency_weight": 0.0, "anchor_weight": 0.0}, True, False, False),
        ({"forget_weight": 0.0, "towers": "each"}, False, False, True),
        ({"towers": "each", "consistency_weight": 0.0, "anchor_weight": 0.0}, True, True, False),
        *(
            ({"consistency_weight": 0.0, "anchor_weight": 0.0} | changes, False, forget, retain)
            for changes, forget, retain in [
                ({"forget_loss": "mse_zero"}, False, False),
                ({"forget_loss": "mse_zero", "towers": "each"}, True, False),
                ({"forget_loss": "joint_ce"}, False, False),
                ({"forget_loss": "joint_ce", "towers": "each"}, True, True),
                ({"forget_loss": "joint_ce", "towers": "each", "family": "sigmoid"}, True, False),
                ({"forget_loss": "uniform"}, False, False),
                ({"forget_loss": "uniform", "towers": "each"}, True, True),
                ({"forget_loss": "npo"}, True, False),
                ({"forget_loss": "redirect"}, True, True),
            ]
        ),
    ],
)
def test_what_the_objective_says_it_needs_is_enough_and_necessary(changes, floor, forget, retain):
    spec = spec_of(**changes)
    student = make_features(1).model()

    def teacher(forget: bool, retain: bool) -> Model | None:
        return Model(
            forget=TEACHER.forget if forget else None,
            retain=TEACHER.retain if retain else None,
            scale=TEACHER.scale,
            bias=TEACHER.bias,
        )

    assert spec.needs_floor == floor
    assert (spec.needs_teacher_forget, spec.needs_teacher_retain) == (forget, retain)
    objective(student=student, teacher=teacher(forget, retain), floor_b=None, spec=spec)
    for less in {(False, retain), (forget, False)} - {(forget, retain)}:
        with pytest.raises(ValueError, match="this objective needs"):
            objective(student=student, teacher=teacher(*less), floor_b=None, spec=spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"family": "sigmoid", "forget_loss": "uniform"},
            "objective.forget.loss: uniform levels a softmax over captions, and a sigmoid "
            "(SigLIP) model has none: it scores each pair alone. Choose cosine, joint_ce, "
            "mse_zero, npo or redirect.",
        ),
        (
            {"forget_loss": "redirect", "towers": "each"},
            "objective.forget.towers: each has no meaning for the loss redirect, which already "
            "moves each tower against the teacher's embeddings. Set objective.forget.towers to "
            "joint, or choose another loss.",
        ),
    ],
)
def test_what_has_no_sensible_form_is_refused_with_the_reason(changes, message):
    with pytest.raises(UserError) as refusal:
        spec_of(**changes).check()
    assert str(refusal.value) == message

    spec_of(**changes, forget_weight=0.0).check()
    spec_of(**changes | {"forget_loss": "cosine"}).check()


def test_diagnostics_are_detached_means_and_a_share():
    student = make_features(1).model()
    forget = (student.forget.image_bD * student.forget.text_bD).sum(-1).detach()
    retain = (student.retain.image_bD * student.retain.text_bD).sum(-1).detach()
    floor_b = forget + torch.tensor([0.0, 0.1, -0.1])

    figures = diagnostics(student, floor_b=floor_b)
    assert figures["forget_similarity"].item() == pytest.approx(forget.mean().item())
    assert figures["retain_similarity"].item() == pytest.approx(retain.mean().item())
    assert figures["forget_at_floor"].item() == pytest.approx(2 / 3)
    assert not any(figure.requires_grad for figure in figures.values())
    assert "forget_at_floor" not in diagnostics(student, floor_b=None)
