"""Nodes that could not prepare for a job: what to say of it, wherever Ray tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RuntimeEnvSetupError

from dist_erase.errors import UserError

_ERROR = re.compile(r"^\w+(?:Error|Exception): .+", re.M)
MEND = (
    "Nodes install the wheel that came with the job by the `pip` on the PATH that Ray was started "
    "with; or let their image hold dist-erase, and set the launcher's code to image."
)


def cause(told: str) -> str:
    """The error in what Ray tells, on one line; behind it comes what follows from it."""
    first = _ERROR.search(told)
    return " ".join((first[0] if first else told).split())[:500]


@contextmanager
def environments_explained() -> Iterator[None]:
    """Turns what Ray raises inside, when such a node is needed, into a UserError."""
    try:
        yield
    except RuntimeEnvSetupError as error:
        raise UserError(
            "ray.address", f"a node could not prepare for this job ({cause(str(error))}).", MEND
        ) from None
