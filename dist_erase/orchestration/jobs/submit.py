"""From a configuration on this machine to a job on a cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dist_erase.config.launcher import Launcher
from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.data.source.attempts import within
from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.command import Order, order, refuse_secrets
from dist_erase.orchestration.jobs.far_paths import refuse_relative, shared
from dist_erase.orchestration.jobs.follow import FORGOTTEN
from dist_erase.orchestration.jobs.package import Package, build, in_mib

_UPLOAD_SECONDS = 600.0
_ANSWER_SECONDS = 15.0
_ASKED_TIMES, _PAUSE_SECONDS = 5, 2.0  # a job that was taken is on the list within seconds


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What would be handed to Ray, and what would travel."""

    order: Order
    package: Package

    def in_words(self) -> str:
        """The size of what travels, and what stays."""
        left = f"; left out: {self.package.left_out:,} files" if self.package.left_out else ""
        return (
            f"package: {in_mib(self.package.bytes)} in {len(self.package.sizes):,} files{left} "
            f"({self.package.folder})"
        )


def prepare(
    path: Path,
    overrides: Sequence[str],
    launcher: Launcher,
    *,
    folder: Path,
    flags: Sequence[str] = (),
) -> Prepared:
    """Checks everything that can be checked here, and makes the package.

    Args:
        path: configuration file.
        overrides: KEY=VALUE; the launcher's own come before them.
        launcher: where the job goes.
        folder: for the package; absent or empty.
        flags: of `dist-erase run`.

    Raises:
        UserError: a configuration that does not fit, paths that the nodes cannot know, a value
            that looks like a credential, or too large a package; nothing is left then.
    """
    # The cluster that runs the job is the one that was submitted to.
    given = [*launcher.overrides, *overrides, "ray.address=auto"]
    config = load_config(path, given, RunConfig).config
    refuse_secrets(config)
    more: list[str] = []
    if launcher.shared_disk:
        more = shared(config)
    else:
        refuse_relative(config)
    if folder.exists() and any(folder.iterdir()):
        raise UserError("--package", f"{folder} is not empty.", "Name a new or an empty folder.")
    package = build(folder, path, config, launcher)
    more += package.overrides
    final = load_config(path, [*given, *more], RunConfig).config
    return Prepared(
        package=package,
        order=order(
            final,
            launcher,
            config_path=package.config,
            arguments=[*given, *more, *flags],
            working_dir=folder.absolute(),
        ),
    )


def hand_in(client: Any, prepared: Prepared, address: str) -> str:
    """Uploads the package and starts the job; gives its submission id.

    Raises:
        UserError: Ray refuses it, or cannot be asked whether it took it.
    """
    name = prepared.order.submission_id
    try:
        job: str = within(_UPLOAD_SECONDS, lambda: client.submit_job(**prepared.order.keywords()))
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and _was_taken(client, name, address):
            return name
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise UserError(
            address,
            f"does not take the job ({lines[-1].strip()[:300] if lines else error!r}).",
            "Mend what it says; `ray status` on the head node shows whether the cluster is well.",
        ) from None
    return job


def _was_taken(client: Any, job: str, address: str) -> bool:
    """Whether the cluster has the job although its answer was lost; UserError if nobody can say."""
    lost: Exception | None = None
    for _ in range(_ASKED_TIMES):
        try:
            within(_ANSWER_SECONDS, lambda: client.get_job_info(job))
        except (OSError, RuntimeError) as error:
            lost = None if FORGOTTEN in str(error) else error
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    if lost is None:
        return False
    raise UserError(
        address,
        f"broke off while it was handed the job {job}, which may run.",
        f"`dist-erase status {job}` tells whether it does; if not, submit again.",
    ) from None
