"""What Ray Train is handed: its controller imports this module only to pass it on.

The ranks' own module takes seconds to import (DeepSpeed, open_clip).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dist_erase.imports import quick_imports


@dataclass(frozen=True)
class Sealed:
    """A value on its way to the ranks: Ray keeps what it can print, and shows it to everyone."""

    value: Any = field(repr=False)


def train_on_rank(settings: dict[str, Any]) -> None:
    """`worker.train_rank` with the same settings."""
    with quick_imports():
        from dist_erase.orchestration.worker import train_rank

    train_rank(settings)
