"""The numbers that only panels turn colour at; those that alerts fire at stand in the registry."""

from __future__ import annotations

TEACHER_WAIT_SHARE = 0.30  # of the ranks' time
BUDGET_NEARLY_USED = 0.8
