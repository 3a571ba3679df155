"""Memory of a machine, and of a container by its control group's files."""

from __future__ import annotations

import psutil
import pytest

from dist_erase.observability.memory import host_memory

GIB = 2**30


def group(folder, limit, current, inactive):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nfile 9\n")
    return folder


def test_a_limit_of_its_own_counts_without_what_would_be_given_back(tmp_path):
    assert host_memory(group(tmp_path, GIB, 600, 200)) == (400, GIB)


@pytest.mark.parametrize("limit", ["max", 2**60])
def test_without_a_limit_the_machine_counts(tmp_path, limit):
    used, total = host_memory(group(tmp_path, limit, 600, 200))
    assert total == psutil.virtual_memory().total
    assert 0 < used < total


def test_without_control_groups_the_machine_counts(tmp_path):
    assert host_memory(tmp_path / "none")[1] == psutil.virtual_memory().total
