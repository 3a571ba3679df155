"""What is asked of Ray: the command of a job, its environment and its marks."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.config.launcher import Launcher
from dist_erase.config.run import RunConfig
from dist_erase.config.secrets import has_login, unsigned
from dist_erase.config.sizes import parse_size
from dist_erase.errors import UserError

RUN = "dist_erase_run"  # marks by which `status`, `logs` and `stop` know a job
FOLDER = "dist_erase_folder"
PYTHON = "dist_erase_python"


@dataclass(frozen=True, kw_only=True)
class Order:
    """One job, as it is handed to Ray.

    Attributes:
        submission_id: its name on the cluster.
        words: the command.
        working_dir: the package.
        env: environment variables.
        marks: Ray's metadata.
        launcher: resources of the driver.
    """

    submission_id: str
    words: tuple[str, ...]
    working_dir: Path
    env: dict[str, str]
    marks: dict[str, str]
    launcher: Launcher

    @property
    def runtime_env(self) -> dict[str, Any]:
        """Ray's runtime environment."""
        env = {"env_vars": self.env} if self.env else {}
        return {"working_dir": str(self.working_dir), **env}

    def keywords(self) -> dict[str, Any]:
        """For `JobSubmissionClient.submit_job`."""
        held = self.launcher.entrypoint
        return {
            "entrypoint": shlex.join(self.words),
            "submission_id": self.submission_id,
            "runtime_env": self.runtime_env,
            "metadata": dict(self.marks),
            "entrypoint_num_cpus": held.cpus or None,
            "entrypoint_num_gpus": held.gpus or None,
            "entrypoint_memory": parse_size(held.memory) if held.memory else None,
            "entrypoint_resources": dict(held.resources) or None,
        }

    def plain(self, address: str, *, wait: bool) -> str:
        """The same as a line for a shell."""
        asked = self.keywords()
        words = ["ray", "job", "submit", "--address", address]
        words += ["--submission-id", self.submission_id]
        words += ["--runtime-env-json", json.dumps(self.runtime_env)]
        words += ["--metadata-json", json.dumps(self.marks)]
        for name in ("num-cpus", "num-gpus", "memory"):
            amount = asked[f"entrypoint_{name.replace('-', '_')}"]
            words += [] if amount is None else [f"--entrypoint-{name}", str(amount)]
        if asked["entrypoint_resources"]:
            words += ["--entrypoint-resources", json.dumps(asked["entrypoint_resources"])]
        if isinstance(self.launcher.verify, str) or not self.launcher.verify:
            words += ["--verify", str(self.launcher.verify)]
        words += [] if wait else ["--no-wait"]
        return shlex.join([*words, "--", *self.words])


def order(
    config: RunConfig,
    launcher: Launcher,
    *,
    config_path: str,
    arguments: Sequence[str],
    working_dir: Path,
) -> Order:
    """The job that runs a configuration.

    Args:
        config: what is run, for its name and folder.
        launcher: where and with what.
        config_path: of the configuration, in the package.
        arguments: of `dist-erase run`, behind the configuration.
        working_dir: the package.
    """
    start = (launcher.python, "-m", "dist_erase") if launcher.code == "package" else ("dist-erase",)
    return Order(
        submission_id=f"{config.run.name}-{secrets.token_hex(3)}",
        words=(*start, "run", config_path, *arguments),
        working_dir=working_dir,
        env=dict(launcher.env),
        marks={
            RUN: config.run.name,
            FOLDER: str(Path(config.run.dir).absolute() / config.run.name),
            PYTHON: launcher.python,
        },
        launcher=launcher,
    )


def refuse_secrets(config: RunConfig) -> None:
    """Raises UserError for a URL with a login or a signature: a job is no place for one.

    Other values that look like credentials do not get into a configuration.
    """
    found = next(_logins(config.model_dump(), ""), None)
    if found:
        raise UserError(
            found,
            "looks like a credential, and everyone at the dashboard can read a job.",
            "Remove it; set what signs in on the nodes, and name it in the launcher's secrets.",
        )


def _logins(value: Any, key: str) -> Iterator[str]:
    """Keys of URLs that hold a login or a signature."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _logins(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _logins(inner, key)
    elif isinstance(value, str) and (has_login(value) or unsigned(value) != value):
        yield key
