"""How a set's batch is shared out: virtual streams, and the world sizes that they serve."""

from __future__ import annotations

import math
from typing import Literal

from dist_erase.data.order import Order
from dist_erase.errors import UserError

_MAX_AUTO_STREAMS = 256


def share(streams: int, part: int, parts: int) -> range:
    """The streams that part `part` of `parts` equal parts serves."""
    if streams % parts:
        raise ValueError(f"{parts} parts do not divide {streams} streams")
    width = streams // parts
    return range(part * width, (part + 1) * width)


def choose_streams(batch: int, asked: Literal["auto"] | int, *, where: str) -> int:
    """The number of virtual streams of a set.

    Args:
        batch: the set's share of the global batch.
        asked: `data.streams`; auto = the largest divisor of `batch` up to 256.
        where: configuration key of `batch`, named in errors.

    Raises:
        UserError: the number asked for does not divide the batch.
    """
    divisors = [n for n in range(1, min(batch, _MAX_AUTO_STREAMS) + 1) if batch % n == 0]
    if asked == "auto":
        return divisors[-1]
    if asked < 1 or batch % asked:
        raise UserError(
            "data.streams",
            f"{asked} streams do not divide {where} = {batch}.",
            f"Choose auto or one of {_listed(divisors)}.",
        )
    return asked


def allowed_worlds(*orders: Order) -> list[int]:
    """World sizes that serve the same global batches: the common divisors of the streams."""
    common = math.gcd(*(order.streams for order in orders))
    return [n for n in range(1, common + 1) if common % n == 0]


def check_world(world: int, *orders: Order, where: str) -> None:
    """Raises UserError, naming the sizes allowed, when `world` ranks cannot share the streams."""
    allowed = allowed_worlds(*orders)
    if world not in allowed:
        streams = " and ".join(f"{order.streams} of {order.where}" for order in orders)
        raise UserError(
            where,
            f"{world} ranks cannot share the data streams equally ({streams}).",
            f"Choose one of {_listed(allowed)}.",
        )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
