"""Checkpoints that cannot be written: counted, and told with a name."""

from __future__ import annotations

import errno
import resource
from contextlib import contextmanager

import pytest
import torch

from dist_erase.distributed.context import RankContext
from dist_erase.observability.emit import Metrics
from dist_erase.training.checkpoint import Checkpoints, Progress
from dist_erase.training.hooks import RunLog
from dist_erase.training.parts import Parts
from dist_erase.training.saving import save

ALONE = RankContext(rank=0, world=1, device=torch.device("cpu"))


class Tensors:
    """All that saving asks of an engine, of so many bytes."""

    def __init__(self, size):
        self._weights = torch.zeros(size, dtype=torch.uint8)

    def optimizer_steps(self):
        return 1.0

    def checkpoint_tensors(self, *, part, parts):
        return {"weights//w": self._weights}


def save_in(folder, *, size, state=""):
    """Saves; gives the failures counted and the error."""
    metrics = Metrics(run="r", role="student", rank=0)
    parts = Parts(
        engine=Tensors(size),
        spec=None,
        teacher=None,
        constants=None,
        checkpoints=Checkpoints(folder / "checkpoints", ALONE, keep_last=1, attempt=1),
        log=RunLog(folder, writes_rows=True),
        metrics=metrics,
        account=None,
        attempt=1,
    )
    progress = Progress(step=1, floor=[], order_version=1, stopped=state)
    with pytest.raises(OSError, match="checkpoints") as caught:
        save(parts, progress, ALONE, why="interval", is_best=False)
    told = {s.name: s.value for family in metrics.registry.collect() for s in family.samples}
    return told["dist_erase_checkpoint_failures_total"], caught.value


@contextmanager
def files_of_at_most(size):
    """Larger ones fail as those on a full disk do, with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "state"), [(100_000, ""), (16, "x" * 100_000)], ids=["tensors", "state"]
)
def test_one_that_finds_no_room_is_counted_and_names_the_folder(tmp_path, size, state):
    with files_of_at_most(4096):
        counted, error = save_in(tmp_path, size=size, state=state)
    assert counted == 1
    assert error.errno == errno.EFBIG
    folder = tmp_path / "checkpoints"
    named = folder / ".step-00000001-attempt-1.tmp" / "state.json" if state else folder
    assert (error.filename, error.strerror) == (str(named), "File too large")


def test_an_error_that_names_its_file_stays_as_it_is(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    counted, error = save_in(tmp_path, size=16)
    assert counted == 1
    assert error.filename.startswith(str(tmp_path / "checkpoints"))
    assert error.__cause__ is None
