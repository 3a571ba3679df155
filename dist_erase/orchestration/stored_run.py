"""The configuration that a run folder holds, for commands that look at a run afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.run_folder import CONFIG


def stored_config(folder: Path) -> RunConfig | PretrainConfig:
    """The configuration of the run in `folder`, which may have been moved since.

    Raises:
        UserError: it is no run folder, or this version cannot read its configuration.
    """
    path = folder / CONFIG
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))["config"]
        tree["run"] |= {"dir": str(folder.absolute().parent), "name": folder.absolute().name}
        kind = PretrainConfig if "train" in tree["data"] else RunConfig
        return kind.model_validate(tree)
    except FileNotFoundError:
        raise UserError(
            str(folder), f"is no run folder ({CONFIG} is missing).", "Name a folder like runs/NAME."
        ) from None
    except OSError as error:
        raise UserError(
            str(path), f"cannot be read ({error.strerror}).", "Make it readable."
        ) from error
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            str(path),
            f"is no configuration of this version ({str(error).splitlines()[0]}).",
            "Use the version of dist-erase that made the run.",
        ) from error
