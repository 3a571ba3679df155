import pytest

from dist_erase.errors import UserError
from dist_erase.training.deepspeed_config import deepspeed_json


def test_no_clipping_is_written_out():
    made = deepspeed_json(zero_stage=2, grad_clip=0.0, extra={})
    assert made["gradient_clipping"] == 0.0  # left out, it would be 1.0
    assert made["zero_optimization"] == {"stage": 2}
    assert made["gradient_accumulation_steps"] == 1


def test_the_users_keys_are_merged_and_the_stage_stays():
    extra = {"zero_optimization": {"overlap_comm": True}, "wall_clock_breakdown": True}
    made = deepspeed_json(zero_stage=3, grad_clip=1.0, extra=extra)
    assert made["zero_optimization"] == {"overlap_comm": True, "stage": 3}
    assert made["wall_clock_breakdown"] is True
    assert extra == {"zero_optimization": {"overlap_comm": True}, "wall_clock_breakdown": True}


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("gradient_clipping", "train.grad_clip"),
        ("train_batch_size", "train.forget_batch and train.retain_batch"),
        ("train_micro_batch_size_per_gpu", "train.micro_batch"),
        ("gradient_accumulation_steps", "train.micro_batch"),
        ("optimizer", "train.optimizer"),
        ("scheduler", "train.schedule"),
        ("bf16", "train.precision"),
        ("fp16", "train.precision"),
        ("torch_autocast", "train.precision"),
        ("data_types", "train.precision"),
    ],
)
def test_a_conflict_is_named_with_the_key_to_use(key, ours):
    with pytest.raises(UserError) as refused:
        deepspeed_json(zero_stage=2, grad_clip=1.0, extra={key: {"enabled": True}})
    assert str(refused.value) == (
        f"deepspeed.{key}: this is set by the typed configuration. Use {ours}."
    )


def test_the_stage_is_no_raw_key():
    with pytest.raises(UserError, match=r"^deepspeed\.zero_optimization\.stage: .*zero_stage"):
        deepspeed_json(zero_stage=2, grad_clip=1.0, extra={"zero_optimization": {"stage": 1}})


def test_a_number_in_place_of_a_section_is_refused():
    with pytest.raises(UserError, match=r"^deepspeed\.zero_optimization: is 2, not a section"):
        deepspeed_json(zero_stage=2, grad_clip=1.0, extra={"zero_optimization": 2})
