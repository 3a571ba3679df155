"""A wait that lasts too long is explained by the stacks of whoever is stuck."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dist_erase.batch import ImageSpec
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import PairStream, StreamPlan


def tokenise_slowly(texts: list[str]) -> Tensor:
    time.sleep(1.5)
    return torch.zeros(len(texts), 1, dtype=torch.int64)


@pytest.mark.parametrize("workers", [0, 2])
def test_stacks_are_written_and_the_batch_still_comes(
    shards: Callable[..., str],
    spec: ImageSpec,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    workers: int,
) -> None:
    index = index_set(SourceConfig(shards=shards([8])), where="data.retain")
    order = Order(counts=index.counts, block=4, window=16, streams=4, batch=4, seed=0)
    stream = PairStream(
        retain=StreamPlan(name="retain", index=index, order=order, captions=CaptionPlan()),
        image=spec,
        tokenizer=tokenise_slowly,
        workers=workers,
        seed=0,
        watch_seconds=0.5,
        stacks=tmp_path / "stacks",
    )
    next(stream)  # workers have started and imported everything
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        batch = [next(stream) for _ in range(3)][-1]
    stream.close()
    assert len(batch.retain) == 4
    assert "no batch for 0.5 s" in caplog.text
    stacks = [path.read_text() for path in (tmp_path / "stacks").iterdir()]
    assert any("tokenise_slowly" in text for text in stacks)
    said = len(caplog.records)
    time.sleep(0.7)
    assert len(caplog.records) == said  # a closed stream is not waited for
