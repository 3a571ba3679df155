"""The numbers that alerts fire at and panels turn colour at: one place, so that they agree."""

from __future__ import annotations

DATA_WAIT_SHARE = 0.30  # of the ranks' time; the console speaks of waits from 0.10 on
TEACHER_WAIT_SHARE = 0.30
# Where data.max_corrupt_fraction allows a run to go on; by default the first one stops it.
CORRUPT_SHARE = 0.005
MEMORY_SHARE = 0.92
CHECKPOINT_AGE_SECONDS = 3600.0
HEARTBEAT_AGE_SECONDS = 60.0  # processes write every second
STRAGGLER_RATIO = 1.5  # own work of the slowest rank over the median rank's
# A cosine: between the level of pairs that were never paired and "still remembered".
SIMILARITY_MARGIN = 0.05
NO_STEP_MINUTES = 10
NO_PROGRESS_MINUTES = 15
BUDGET_NEARLY_USED = 0.8
