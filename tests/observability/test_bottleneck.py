import pytest

from dist_erase.observability.bottleneck import bottleneck, shares


def rows(*steps):
    return [{"step": number, "seconds": seconds} for number, seconds in enumerate(steps, 1)]


def step(**parts):
    return {"step": 1.0, "data_wait": 0.0, "teacher_wait": 0.0, **parts}


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (
            {"data_wait": 0.62, "teacher_wait": 0.2},
            "62 % of the step waits for data; more data.workers would help",
        ),
        (
            {"data_wait": 0.2, "teacher_wait": 0.31},
            "31 % of the step waits for the teacher; more teacher.replicas would help",
        ),
        (
            {"checkpoint": 0.25},
            "25 % of the step writes checkpoints; a larger train.checkpoint.every_steps would help",
        ),
        (
            {"forward": 0.3, "backward": 0.6, "optimizer": 0.03, "data_wait": 0.05},
            "the student computes 93 % of the step",
        ),
        (
            {"forward": 0.3, "backward": 0.3},
            "the student computes 60 % of the step; 40 % is none of the measured phases",
        ),
    ],
)
def test_the_line_names_the_largest_wait_and_its_mend(parts, line):
    assert bottleneck(rows(step(**parts))) == line


def test_shares_are_of_time_and_not_means_of_shares():
    # One long step that waits for nothing outweighs nine short ones that wait for all of theirs.
    short = {"step": 0.1, "data_wait": 0.1}
    long = {"step": 9.1, "data_wait": 0.0}
    assert shares(rows(*[short] * 9, long)) == {"data_wait": pytest.approx(0.09)}


def test_without_times_nothing_is_said():
    assert bottleneck([]) is None
    assert bottleneck([{"step": 1}]) is None
    assert bottleneck(rows({"step": 0.0})) is None
