"""The command that trains an original model which a run asks for and which is not there yet."""

from __future__ import annotations

from pathlib import Path

import yaml

_CONFIGS = Path("configs")


def training_command(model: Path) -> str:
    """`dist-erase pretrain …`, whose run leaves its model in `model` (RUN/model).

    With the configuration below configs/, in the folder that one works in, that does so as it
    stands; else with CONFIG for one that the user has.
    """
    run = model.parent.absolute()
    if _CONFIGS.is_dir():
        for path in sorted(_CONFIGS.rglob("*.yaml")):
            if _trains_into(path) == run:
                return f"dist-erase pretrain {path}"
    return f"dist-erase pretrain CONFIG run.dir={model.parent.parent} run.name={run.name}"


def _trains_into(config: Path) -> Path | None:
    """The run folder of a pretraining configuration; None of anything else."""
    try:
        tree = yaml.safe_load(config.read_text(encoding="utf-8"))
        if "train" not in tree["data"]:
            return None
        return Path(tree["run"]["dir"], tree["run"]["name"]).absolute()
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None  # not one of ours; whoever runs it is told
