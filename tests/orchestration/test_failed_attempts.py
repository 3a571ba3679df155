"""What the events say of an attempt that failed on Ray, for errors as Ray makes them."""

import json

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from dist_erase.errors import UserError
from dist_erase.orchestration.failed_attempts import TellFailures, what_failed
from dist_erase.orchestration.outcome import leave_user_error

LOST = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")


def dead(message="its worker process has died", **facts):
    context = ActorDiedErrorContext(
        actor_id=bytes(16), pid=17, node_ip_address="10.0.0.7", error_message=message, **facts
    )
    return WorkerHealthCheckFailedError("A worker health check failed.", ActorDiedError(context))


def preempted():
    reason = NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    return dead("its node has died", node_death_info=NodeDeathInfo(reason=reason))


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({0: dead(), 1: LOST}, "rank 0 died (pid 17 on 10.0.0.7)"),
        (
            {1: dead("The actor died because its node has died. Node Id: ab")},
            "rank 1 is gone (pid 17 on 10.0.0.7) with its node",
        ),
        (
            {0: dead("Worker exit type: NODE_OUT_OF_MEMORY")},
            "rank 0 was killed (pid 17 on 10.0.0.7) because its node was short of memory",
        ),
        (
            {1: ValueError("no\n  such thing"), 0: LOST},
            "rank 1 failed (ValueError: no such thing)",
        ),
        ({1: LOST, 0: LOST}, "rank 0, 1 lost contact with another rank"),
    ],
)
def test_it_names_the_rank_that_failed_not_those_that_lost_it(errors, words):
    assert what_failed(errors) == words


def told(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_counts_the_restarts_that_are_allowed_and_not_nodes_that_were_taken_away(tmp_path):
    failures = TellFailures(tmp_path, 1)
    for error in (dead(), preempted(), dead()):
        failures.after_exception(None, {0: error})
    assert [row["message"].partition("; ")[2] for row in told(tmp_path)] == [
        "Ray starts the workers again (1 of ray.max_failures=1)",
        "Ray starts the workers again",
        "no restart is left (ray.max_failures=1)",
    ]
    assert {(row["event"], row["step"]) for row in told(tmp_path)} == {("failure", 0)}


@pytest.mark.parametrize("steps", [1, 5000])
def test_it_stands_at_the_last_step_below_the_half_line_of_a_killed_rank(tmp_path, steps):
    rows = [f'{{"step": {step}, "loss": {{"total": 1.5}}}}\n' for step in range(1, steps + 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(rows) + '{"step"')
    TellFailures(tmp_path, 3).after_exception(None, {0: dead()})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == steps + 2
    assert lines[-2] == '{"step"'
    assert (json.loads(lines[-1])["event"], json.loads(lines[-1])["step"]) == ("failure", steps)


def test_of_what_a_person_must_mend_the_driver_tells_alone(tmp_path):
    leave_user_error(tmp_path, UserError("data", "is gone.", "Bring it back."), rank=0)
    TellFailures(tmp_path, 3).after_exception(None, {0: ValueError()})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_folder_that_this_machine_cannot_write_costs_the_run_nothing(tmp_path):
    TellFailures(tmp_path / "not there", 3).after_exception(None, {0: dead()})
    assert not (tmp_path / "not there").exists()
