"""Streams of pairs over small sets, with a tokenizer that data workers can import."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from dist_erase.batch import PairBatch, StreamName
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.order import Order
from dist_erase.data.pairs import PairStream, StreamPlan

Shards = Callable[..., str]
Change = Callable[[int, dict], None]
Plans = Callable[..., dict[str, StreamPlan]]
Make = Callable[..., PairStream]

RETAIN, FORGET = 12, 6  # batches, and streams
FIELDS = ("images", "tokens", "caption_ids", "image_ids", "labels", "positions", "views")


def characters(texts: list[str]) -> Tensor:
    """A tokenizer that data workers can import; its last number tells whether they import ray."""
    return torch.tensor([[*map(ord, text[-6:].rjust(6)), "ray" in sys.modules] for text in texts])


def plan(pattern: str, name: StreamName, batch: int, **options: object) -> StreamPlan:
    index = index_set(SourceConfig(shards=pattern), where=f"data.{name}")
    captions = CaptionPlan(member="cls", templates=("a {}", "the {}"), classes=("x", "y", "z"))
    order = Order(counts=index.counts, block=4, window=16, streams=batch, batch=batch, seed=5)
    return StreamPlan(name=name, index=index, order=order, captions=captions, **options)


def same(a: PairBatch, b: PairBatch) -> bool:
    return (a.step, a.quarantined) == (b.step, b.quarantined) and all(
        torch.equal(getattr(getattr(a, name), field), getattr(getattr(b, name), field))
        for name in ("retain", "forget")
        for field in FIELDS
    )


def joined(parts: list[PairBatch], name: str, field: str) -> Tensor:
    return torch.cat([getattr(getattr(part, name), field) for part in parts])
