"""What is said of waits, and that advice goes no further than the numbers."""

import pytest

from dist_erase.observability.bottleneck import bottleneck, shares
from dist_erase.observability.facts import Facts, Teacher


def rows(*steps):
    return [{"step": number, "seconds": seconds} for number, seconds in enumerate(steps, 1)]


def step(**parts):
    return {"step": 1.0, "data_wait": 0.0, "teacher_wait": 0.0, **parts}


def said(parts, facts=None, *, in_flight=None, **known):
    """The sentence about steps that are all alike."""
    steps = rows(*[step(**parts)] * 8)
    if in_flight is not None:
        steps = [row | {"teacher": {"in_flight": in_flight}} for row in steps]
    found = bottleneck(steps, facts, **known)
    return found.text


def facts(workers=2, limit=64, idle=6.0, up=(True, True), world=2):
    replicas = {str(i): one for i, one in enumerate(up)}
    return Facts(
        world=world,
        data_workers=workers,
        data_workers_limit=limit,
        idle_cores=idle,
        teacher=Teacher(up=replicas) if up else None,
    )


DATA = {"data_wait": 0.62, "teacher_wait": 0.2}
WAITS = "62 % of the step waits for data; "


@pytest.mark.parametrize(
    ("known", "advice"),
    [
        # 2 workers keep 38 % of the step fed, so it takes 2 / 0.38 = 5.3 of them: 8 divides 64.
        (facts(), "6 more data.workers would help (data.workers=8; 6 idle cores a rank)"),
        # Room for one more is no room for the next number that divides the streams.
        (
            facts(idle=1.9),
            "the next number that fits, data.workers=4, needs more idle cores than the 1 ",
        ),
        (facts(idle=0.4), "no core is idle, so it takes more or faster cores, not more"),
        (facts(idle=3.0), "2 more data.workers would help (data.workers=4; 3 idle cores a rank)"),
        (facts(workers=0), "1 more data.workers would help (data.workers=1; 6 idle cores a rank)"),
        (facts(limit=2), "each rank already uses the 2 data workers that its streams allow"),
        (facts(idle=None), "more data.workers help if cores are idle, which is not known here"),
        (None, "more data.workers help if cores are idle, which is not known here"),
    ],
)
def test_more_data_workers_are_advised_where_cores_idle(known, advice):
    assert said(DATA, known).startswith(WAITS + advice)


def test_more_data_workers_are_not_advised_where_they_idle_themselves():
    assert said(DATA, facts(), workers_busy=1.8).startswith(f"{WAITS}6 more")
    assert said(DATA, facts(), workers_busy=0.6) == (
        f"{WAITS}data workers are busy only 30 % of it, so more data.workers would not help"
    )


@pytest.mark.parametrize(
    ("known", "in_flight", "advice"),
    [
        (facts(), 2, "1 more teacher.replicas would help, where the cluster has room for them"),
        (facts(up=(True,) * 4), 2, "2 more teacher.replicas would help, where the cluster has"),
        (facts(), 0, "replicas are idle meanwhile (0.0 requests under way for 2), so a larger"),
        (facts(up=(True, False)), 2, "1 of 2 replicas is down"),
        (facts(), None, "more teacher.replicas help if none is idle, which is not known here"),
        (facts(up=()), 2, "each rank asks its own copy; a pool (on Ray, teacher.kind=pool) on"),
        (None, 2, "more teacher.replicas help a pool that has no idle one, which is not known"),
    ],
)
def test_more_replicas_are_advised_where_all_are_busy(known, in_flight, advice):
    text = said({"data_wait": 0.2, "teacher_wait": 0.31}, known, in_flight=in_flight)
    assert text.startswith(f"31 % of the step waits for the teacher; {advice}")


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (
            {"checkpoint": 0.25},
            "25 % of the time goes into checkpoints; a larger train.checkpoint.every_steps would "
            "help",
        ),
        (
            {"evaluation": 0.4},
            "40 % of the time goes into live evaluations; a larger evaluate.every_steps would help",
        ),
        (
            {"forward": 0.3, "backward": 0.6, "optimizer": 0.03, "data_wait": 0.05},
            "the student computes 93 % of the step",
        ),
        (
            {"forward": 0.3, "backward": 0.3},
            "the student computes 60 % of the step; 40 % is none of the measured phases",
        ),
        (
            {"forward": 0.3, "backward": 0.4, "communication": 0.3},
            "the student computes 70 % of the step, 30 % is communication between ranks",
        ),
    ],
)
def test_the_line_names_where_the_time_goes(parts, text):
    assert said(parts) == text


def test_one_checkpoint_is_no_reason_to_write_fewer():
    steps = rows(*[step(forward=1.0)] * 7, step(checkpoint=9.0) | {"step": 9.0})
    assert bottleneck(steps).text == "60 % of the time goes into checkpoints"


def test_a_rank_that_the_others_wait_for_is_named():
    computing = {"forward": 0.3, "backward": 0.65}
    waits = {"0": 0.01, "1": 0.02, "2": 0.45}
    assert said(computing, data_waits=waits) == (
        "rank 2 waits for data 45 % of its time, and the others wait for it"
    )
    assert said(computing, data_waits={"0": 0.01, "1": 0.05}).startswith("the student computes")


def test_shares_are_of_time_and_not_means_of_shares():
    # One long step that waits for nothing outweighs nine short ones that wait for all of theirs.
    short = {"step": 0.1, "data_wait": 0.1}
    long = {"step": 9.1, "data_wait": 0.0}
    assert shares(rows(*[short] * 9, long)) == {"data_wait": pytest.approx(0.09)}
    # A row for nine steps counts nine times.
    assert shares([{"covers": 9, "seconds": short}, {"seconds": long}]) == {
        "data_wait": pytest.approx(0.09)
    }


def test_nothing_is_said_of_too_few_steps_or_of_the_first():
    assert bottleneck([]) is None
    assert bottleneck([{"step": 1}]) is None
    assert bottleneck(rows({"step": 0.0})) is None
    assert bottleneck(rows(*[step(data_wait=0.9)] * 4)) is None
    starting, then = step(step=100.0, data_wait=100.0), step(forward=1.0)
    assert bottleneck(rows(starting, *[then] * 5)).kind == "student"
