"""What a launcher that starts the same command again finds of the run."""

from __future__ import annotations

from dist_erase.config.run import RunConfig
from dist_erase.errors import EXIT_DONE, EXIT_GOAL_MISSED
from dist_erase.orchestration.ending import Ending, read_ending
from dist_erase.orchestration.run_folder import CONFIG, folder_of


def is_begun(config: RunConfig) -> bool:
    """Whether there is a run to continue."""
    return (folder_of(config) / CONFIG).exists()


def done_already(config: RunConfig) -> Ending | None:
    """How the run ended, if there is nothing left to do; then to train again would be waste."""
    end = read_ending(folder_of(config))
    return end if end is not None and end.exit_code in (EXIT_DONE, EXIT_GOAL_MISSED) else None
