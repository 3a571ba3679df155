"""The command that trains an original model which a run asks for and which is not there yet."""

from __future__ import annotations

from pathlib import Path

from dist_erase.config.load import load_config
from dist_erase.config.run import PretrainConfig
from dist_erase.errors import UserError

_CONFIGS = Path("configs")


def training_command(model: Path) -> str:
    """`dist-erase pretrain …`, whose run leaves its model in `model` (RUN/model).

    With the configuration below configs/, in the folder that one works in, that does so as it
    stands; else with CONFIG for one that the user has.
    """
    run = model.parent
    for path in sorted(_CONFIGS.rglob("*.yaml")):
        if _trains_into(path, run):
            return f"dist-erase pretrain {path}"
    return f"dist-erase pretrain CONFIG run.dir={run.parent} run.name={run.name}"


def _trains_into(config: Path, run: Path) -> bool:
    try:
        chosen = load_config(config, [], PretrainConfig).config.run
    except UserError:  # of a run, or not one of ours: whoever runs it is told
        return False
    return Path(chosen.dir, chosen.name).absolute() == run.absolute()
