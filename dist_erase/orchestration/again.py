"""What a launcher that starts the same command again finds of the run."""

from __future__ import annotations

import json

from dist_erase.config.load import flat
from dist_erase.config.run import RunConfig
from dist_erase.errors import EXIT_DONE, EXIT_GOAL_MISSED
from dist_erase.orchestration.ending import Ending, read_ending
from dist_erase.orchestration.run_folder import CONFIG, folder_of

_ASKED = ("train.epochs", "train.max_steps", "train.max_forget_passes", "stop.")


def is_begun(config: RunConfig) -> bool:
    """Whether there is a run to continue."""
    return (folder_of(config) / CONFIG).exists()


def done_already(config: RunConfig) -> Ending | None:
    """How the run ended, if there is nothing left to do; then to train again would be waste.

    A run that is to be of another length than it was, or has other goals, has something left to do.
    """
    folder = folder_of(config)
    end = read_ending(folder)
    if end is None or end.exit_code not in (EXIT_DONE, EXIT_GOAL_MISSED):
        return None
    stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["config"]
    before, now = flat(stored), flat(config.model_dump(mode="json"))
    asked = {key for key in before.keys() | now.keys() if key.startswith(_ASKED)}
    return end if all(before.get(key) == now.get(key) for key in asked) else None
