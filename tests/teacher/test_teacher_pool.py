"""One pool of two replicas serves all tests of this file, killed and stopped ones included."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import placement_group_table

from dist_erase.batch import Samples, TeacherAnswer
from dist_erase.config.run import TeacherConfig
from dist_erase.errors import UserError
from dist_erase.models.frozen import load_frozen
from dist_erase.teacher.client import TeacherClient, TeacherLostError
from dist_erase.teacher.local import LocalTeacher
from dist_erase.teacher.pool import TeacherPool
from dist_erase.teacher.router import PoolClient

pytestmark = pytest.mark.integration
CONFIG = TeacherConfig(replicas=2, dtype="fp32", micro_batch=8)
Batches = list[tuple[Samples | None, Samples | None]]


@pytest.fixture(scope="module")
def metrics_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("metrics")


@pytest.fixture(scope="module")
def pool(ray_cluster, tiny_model, metrics_folder):
    with TeacherPool.start(
        tiny_model, CONFIG, resources={"CPU": 1}, run="test", metrics_folder=metrics_folder
    ) as pool:
        yield pool


@pytest.fixture(scope="module")
def batches(make_samples) -> Batches:
    # 13 and 5 rows: neither fills its last micro-batch.
    pairs = [(make_samples(13, 2 * i), make_samples(5, 2 * i + 1)) for i in range(6)]
    return [*pairs, (pairs[0][0], None)]


@pytest.fixture(scope="module")
def expected(tiny_model, batches) -> list[TeacherAnswer]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as a replica with one CPU
    local = LocalTeacher(load_frozen(tiny_model, dtype="fp32", device="cpu", micro_batch=8))
    answers = [local.collect(local.submit(*batch)) for batch in batches]
    torch.set_num_threads(threads)
    return answers


def client_of(pool: TeacherPool, *, rank: int = 0, timeout_seconds: float = 60.0) -> PoolClient:
    return PoolClient(pool.handles, rank=rank, timeout_seconds=timeout_seconds, max_in_flight=8)


def ask_all(client: TeacherClient, batches: Batches) -> list[TeacherAnswer]:
    return [client.collect(ticket) for ticket in [client.submit(*batch) for batch in batches]]


def assert_bit_equal(found: TeacherAnswer, expected: TeacherAnswer) -> None:
    for name in ("retain", "forget"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert torch.equal(ours.image, theirs.image)
            assert torch.equal(ours.text, theirs.text)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def pids_or_none(pool: TeacherPool) -> list[int] | None:
    try:
        return pool.replica_pids()
    except RayError:
        return None


def test_pool_and_local_agree_bit_for_bit_in_any_order_of_collecting(pool, batches, expected):
    client = client_of(pool)
    tickets = [client.submit(*batch) for batch in batches]
    answers = {ticket: client.collect(ticket) for ticket in reversed(tickets)}

    for ticket, right in zip(tickets, expected, strict=True):
        assert_bit_equal(answers[ticket], right)
    stats = client.stats()
    assert (stats.requests, stats.resubmitted, stats.failures) == (7, 0, {})
    assert len(stats.latencies) == 7
    assert min(stats.latencies) > 0
    assert client.stats().requests == 0
    with pytest.raises(KeyError):
        client.collect(tickets[0])


def test_answers_are_float32_of_float16_and_writable(pool, batches):
    answer = ask_all(client_of(pool), batches[:1])[0].retain
    assert answer.image.dtype == torch.float32
    assert torch.equal(answer.image, answer.image.half().float())
    assert torch.allclose(answer.text.norm(dim=1), torch.ones(13), atol=1e-3)
    answer.image.mul_(2.0)


def test_ranks_begin_at_different_replicas_and_share_their_own_requests_out(pool, batches):
    before = [pong.pairs for pong in pool.pongs()]
    one = client_of(pool, rank=1)
    one.collect(one.submit(*batches[0]))
    after = [pong.pairs for pong in pool.pongs()]
    assert [new - old for new, old in zip(after, before, strict=True)] == [0, 18]

    with stopped(pool.replica_pids()):
        tickets = [one.submit(*batch) for batch in batches[:4]]
    for ticket in tickets:
        one.collect(ticket)
    shared = [pong.pairs for pong in pool.pongs()]
    assert [new - old for new, old in zip(shared, after, strict=True)] == [36, 36]


def test_submit_waits_while_too_much_is_in_flight(pool, batches, expected):
    client = PoolClient(pool.handles, rank=0, timeout_seconds=60.0, max_in_flight=1)
    tickets = [client.submit(*batch) for batch in batches]
    assert client.stats().in_flight <= 1
    for ticket, right in zip(tickets, expected, strict=True):
        assert_bit_equal(client.collect(ticket), right)


def test_error_of_the_replicas_own_code_is_raised_not_retried(pool, make_samples):
    good = make_samples(4, 0)
    bad = Samples(**{**vars(good), "tokens": good.tokens[:, :3]})  # too short for the model
    client = client_of(pool)
    ticket = client.submit(bad, None)
    with pytest.raises(RayTaskError, match="The size of tensor"):
        client.collect(ticket)
    assert client.stats().failures == {}


def test_killed_replica_loses_no_answer_and_is_used_again(pool, batches, expected):
    victim = pool.replica_pids()[0]
    assert pool.replicas_up(60.0) == [True, True]
    client = client_of(pool)
    os.kill(victim, signal.SIGSTOP)  # so that it dies with requests
    tickets = [client.submit(*batch) for batch in batches]
    os.kill(victim, signal.SIGKILL)
    for ticket, right in zip(tickets, expected, strict=True):
        assert_bit_equal(client.collect(ticket), right)
    stats = client.stats()
    assert stats.resubmitted >= 1
    assert stats.failures["died"] == stats.resubmitted
    wait_until(lambda: pool.replicas_up(60.0) == [False, True])

    wait_until(lambda: (pids_or_none(pool) or [victim])[0] != victim)
    wait_until(lambda: pool.replicas_up(60.0) == [True, True])
    wait_until(lambda: all(pong.pairs > 0 for pong in ask_and_ping(client, batches, pool)))
    assert client.stats().resubmitted == 0


def ask_and_ping(client: PoolClient, batches: Batches, pool: TeacherPool) -> list:
    ask_all(client, batches[:2])
    return pool.pongs()


def test_hanging_replica_is_left_until_it_answers_again(pool, batches, expected):
    victim = pool.replica_pids()[0]
    client = client_of(pool, timeout_seconds=4.0)
    with stopped([victim]):
        begin = time.monotonic()
        tickets = [client.submit(*batch) for batch in batches]
        for ticket, right in zip(tickets, expected, strict=True):
            assert_bit_equal(client.collect(ticket), right)
        assert time.monotonic() - begin > 4.0
        stats = client.stats()
        assert stats.resubmitted >= 1
        assert stats.failures == {"late": stats.resubmitted}

        ask_all(client, batches)
        assert client.stats().failures == {}

    before = pool.pongs()  # behind the abandoned requests, which it has now answered
    assert before[0].pid == victim
    wait_until(lambda: ask_and_ping(client, batches, pool)[0].pairs > before[0].pairs)
    for found, right in zip(ask_all(client, batches), expected, strict=True):
        assert_bit_equal(found, right)


def test_no_replica_in_time_is_an_error_that_names_each(pool, batches, expected):
    victims = pool.replica_pids()
    client = client_of(pool, timeout_seconds=0.5)
    with stopped(victims):
        ticket = client.submit(*batches[0])
        with pytest.raises(TeacherLostError, match=r"replica 0 gave no .* replica 1 gave no"):
            client.collect(ticket)
    pool.pongs()
    assert_bit_equal(client.collect(ticket), expected[0])


def test_replicas_write_their_metrics(pool, metrics_folder, batches):
    ask_all(client_of(pool), batches[:2])
    pid = pool.replica_pids()[1]
    snapshot = Path(metrics_folder / f"teacher-1-{pid}.prom")

    def pairs_written() -> bool:
        lines = [
            line
            for line in snapshot.read_text().splitlines()
            if line.startswith("dist_erase_teacher_replica_pairs_total{")
        ]
        return len(lines) == 1 and float(lines[0].split()[-1]) == pool.pongs()[1].pairs

    wait_until(pairs_written, seconds=30.0)


def groups_left() -> int:
    return sum(group["state"] != "REMOVED" for group in placement_group_table().values())


def test_missing_resources_are_named_in_time_and_the_group_is_removed(ray_cluster, tiny_model):
    before = groups_left()
    begin = time.monotonic()
    with pytest.raises(UserError) as caught:
        TeacherPool.start(
            tiny_model,
            CONFIG,
            resources={"CPU": 0.5, "GPU": 2},
            run="test",
            metrics_folder=None,
            placement_seconds=1.0,
        )
    assert time.monotonic() - begin < 20.0
    assert caught.value.where == "ray.teacher_resources"
    assert "2 teacher replicas with {CPU: 0.50, GPU: 2} each" in caught.value.problem
    assert "missing is GPU" in caught.value.problem
    assert "GPU: 4 asked, 0 free of 0 in the cluster" in caught.value.problem
    assert groups_left() == before


def test_model_that_cannot_be_loaded_is_the_original_error(ray_cluster, tiny_model):
    before = groups_left()
    broken = tiny_model.model_copy(update={"pretrained": "local-dir:/nowhere"})
    with pytest.raises(UserError, match="no exported model in /nowhere") as caught:
        TeacherPool.start(
            broken,
            CONFIG.model_copy(update={"replicas": 1}),
            resources={"CPU": 1},
            run="test",
            metrics_folder=None,
        )
    assert type(caught.value) is UserError
    assert groups_left() == before


def test_after_shutdown_the_processes_are_gone_and_a_client_says_so(pool, batches):
    pids = pool.replica_pids()
    client = client_of(pool, timeout_seconds=0.5)
    before = groups_left()
    pool.shutdown()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), seconds=10.0)
    assert groups_left() == before - 1
    ticket = client.submit(*batches[0])
    with pytest.raises(TeacherLostError, match=r"replica 0 failed .*; replica 1 failed"):
        client.collect(ticket)
    assert ray.is_initialized()
