"""Which replicas a pool calls up: a busy one is, one that hangs is not."""

import os
import signal
import time

import pytest

from dist_erase.config.run import TeacherConfig
from dist_erase.teacher.pool import TeacherPool
from dist_erase.teacher.router import PoolClient

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pool(ray_cluster, tiny_model):
    config = TeacherConfig(replicas=1, dtype="fp32", micro_batch=8)
    with TeacherPool.start(
        tiny_model, config, resources={"CPU": 1}, run="test", metrics_folder=None
    ) as pool:
        yield pool


@pytest.fixture
def client(pool):
    return PoolClient(pool.handles, rank=0, timeout_seconds=120.0, max_in_flight=8)


def wait_until_up_is(wanted, pool, *, late_seconds):
    deadline = time.monotonic() + 60.0
    while pool.replicas_up(late_seconds) != [wanted]:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_replica_with_a_long_queue_is_up(pool, client, make_samples):
    many, late_seconds, queue = make_samples(1536, 0), 1.5, []
    seen, began = [], time.monotonic()
    while time.monotonic() - began < 2 * late_seconds:
        while client.stats().in_flight < 8:
            queue.append(client.submit(many, None))
        seen.append(pool.replicas_up(late_seconds))
        time.sleep(0.05)
    assert seen == [[True]] * len(seen)
    for ticket in queue:
        client.collect(ticket)
    assert max(client.stats().latencies) > late_seconds  # the queue was long


def test_one_that_does_not_come_back_from_a_request_is_down(
    pool, client, make_samples, monkeypatch
):
    monkeypatch.setattr(pool, "_stuck_seconds", 0.05)
    ticket = client.submit(make_samples(1024, 0), None)
    wait_until_up_is(False, pool, late_seconds=60.0)
    client.collect(ticket)
    wait_until_up_is(True, pool, late_seconds=60.0)


def test_one_whose_process_does_not_answer_is_down(pool):
    pid = pool.replica_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until_up_is(False, pool, late_seconds=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until_up_is(True, pool, late_seconds=0.5)
    assert pool.restarts == [0]
