"""A run whose folder takes no checkpoint, as on a disk that is full or gone."""

import dataclasses

import pytest
from support.runs import finish, wait_until

from dist_erase.orchestration.ending import read_ending

pytestmark = [pytest.mark.integration, pytest.mark.operations]


@pytest.mark.parametrize("ranks", [0, 2], ids=["ray", "deepspeed"])
def test_what_the_system_refuses_is_named_and_no_bug(light, ray_cluster, ranks):
    bench = dataclasses.replace(light, address=ray_cluster)
    name = f"refused-{ranks}"
    folder = bench.folder(name)
    precision = ("train.precision=bf16", "teacher.dtype=bf16", "train.zero_stage=3")
    process = bench.start(name, "ray.max_failures=1", *precision, deepspeed=ranks)
    wait_until((folder / "config.json").exists, "the folder was not made", process)
    (folder / "checkpoints").touch()  # root, too, cannot write below a file
    output = finish(process, expect=2)

    end = read_ending(folder)
    assert end.exit_code == 2
    assert end.message.startswith(f"{folder}/checkpoints")
    assert end.message.endswith(": Not a directory.")
    said = [line for line in output.splitlines() if line.endswith(end.message)]
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert "Traceback" not in output
