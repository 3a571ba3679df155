"""One replica without Ray: what it answers while its worker is busy."""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch

from dist_erase.errors import UserError
from dist_erase.teacher.actor import TeacherReplica
from dist_erase.teacher.protocol import ReplicaSpec


@pytest.fixture
def replica_of():
    threads = torch.get_num_threads()

    def one(model):
        spec = ReplicaSpec(
            model=model,
            dtype="fp32",
            micro_batch=8,
            device="cpu",
            threads=1,
            run="test",
            metrics_folder=None,
        )
        return TeacherReplica(spec, 0)

    yield one
    torch.set_num_threads(threads)


def test_liveness_does_not_wait_in_the_queue_and_shows_a_worker_that_hangs(
    replica_of, tiny_model, make_samples, monkeypatch
):
    replica, samples = replica_of(tiny_model), make_samples(4, 0)
    question = (samples.images.numpy(), samples.tokens.numpy())
    encode, begun, go_on = replica._embedder.loaded().encode, threading.Event(), threading.Event()

    def held(*tensors):  # as a kernel that does not come back
        begun.set()
        assert go_on.wait(30)
        return encode(*tensors)

    monkeypatch.setattr(replica._embedder.loaded(), "encode", held)

    async def scene():
        asked = [asyncio.create_task(replica.embed((question, None))) for _ in range(2)]
        await asyncio.to_thread(begun.wait, 30)
        behind = asyncio.create_task(replica.ping())
        try:
            early = await asyncio.wait_for(replica.alive(), 5)
            await asyncio.sleep(0.1)
            late = await asyncio.wait_for(replica.alive(), 5)
            assert not behind.done()
        finally:
            go_on.set()
        await asyncio.gather(*asked, behind)
        return early, late, await replica.alive()

    early, late, idle = asyncio.run(scene())
    assert late.working_seconds >= early.working_seconds + 0.1
    assert late.works(60.0)
    assert not late.works(0.05)
    assert idle.working_seconds == 0.0
    assert idle.works(0.0)


def test_a_replica_without_its_model_is_not_alive(replica_of, tiny_model):
    replica = replica_of(tiny_model.model_copy(update={"pretrained": "local-dir:/nowhere"}))
    with pytest.raises(UserError, match="no exported model in /nowhere"):
        asyncio.run(replica.alive())
