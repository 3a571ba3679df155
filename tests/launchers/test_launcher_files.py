"""Launcher files, cluster files for machines, and the SLURM script."""

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml

from dist_erase.config.launcher import Launcher, load_launcher, ways_in
from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launchers" / "ray"
LAUNCHERS = sorted(FOLDER.glob("*.yaml"))
MACHINES = sorted((FOLDER / "vm").glob("*.yaml"))
SBATCH = sorted((ROOT / "launchers").rglob("*.sbatch"))
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


def refusal(tmp_path: Path, text: str) -> str:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_launcher(tmp_path / "cluster.yaml")
    return str(caught.value)


def test_there_is_one_for_each_kind():
    assert {load_launcher(path).kind for path in LAUNCHERS} == {"local", "kuberay", "vm", "slurm"}


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
def test_its_overrides_are_keys_of_a_configuration(path):
    launcher = load_launcher(path)
    load_config(ROOT / "configs/quickstart.yaml", launcher.overrides, RunConfig)
    assert all(sentence.endswith(".") for sentence in ways_in(launcher))


def test_a_launcher_that_is_not_named_assumes_nothing():
    assert not Launcher().shared_disk
    assert Launcher().address is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: kubray\ncluster: c", "is 'kubray'. Did you mean kuberay? It is one of local,"),
        ("address: http://h:8265", "kind ({path}): is not given."),
        ("kind: kuberay", "cluster ({path}): is needed and not given."),
        ("kind: vm\nadress: http://h", "adress ({path}): is not a key. Did you mean address?"),
        ("kind: vm\nentrypoint: {cpus: -1}", "entrypoint.cpus ({path}): "),
        ("kind: vm\nentrypoint: {memory: lots}", "entrypoint.memory ({path}): "),
        ("kind: vm\nenv: {HF_TOKEN: hf_abc}", "env ({path}): HF_TOKEN looks like a credential"),
        ("kind: vm\nsecrets: {env: [A=b]}", "secrets.env ({path}): env lists names only"),
        ("kind: vm\naddress: http://me:pw@h:8265", "address ({path}): address holds a login"),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path, text, complaint):
    said = refusal(tmp_path, text)
    assert complaint.replace("{path}", str(tmp_path / "cluster.yaml")) in said
    assert "hf_abc" not in said
    assert "pw@" not in said


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)
def test_cluster_files_fit_rays_own_schema(path):
    cluster = yaml.safe_load(path.read_text())
    jsonschema.validate(cluster, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"max_worker": 3}, SCHEMA)
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token ray start" in cluster[name][-1]
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_machines_offer_what_the_launcher_asks_for():
    launcher = load_launcher(FOLDER / "vm.yaml")
    config = load_config(ROOT / "configs/quickstart.yaml", launcher.overrides, RunConfig).config
    types = yaml.safe_load((FOLDER / "vm" / "aws.yaml").read_text())["available_node_types"]
    for name, asked in (
        ("students", config.ray.resources_per_worker),
        ("teachers", config.ray.teacher_resources),
    ):
        offered = types[name]["resources"]
        assert all(offered.get(key, 0) >= amount for key, amount in asked.items()), name


def test_slurm_has_a_script_for_ray_and_one_without():
    assert [path.name for path in SBATCH] == ["ray.sbatch", "torchrun.sbatch"]


@pytest.mark.parametrize("path", SBATCH, ids=lambda path: path.name)
def test_a_slurm_script_stops_at_the_first_error(path):
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


@pytest.fixture
def node_of_slurm(tmp_path):
    """An environment in which SLURM's commands and the launch only note how they are used."""
    said = tmp_path / "said"
    stand_ins = {
        "scontrol": f'echo "scontrol $*" >>{said}; [ "$1" = show ] && echo here || exit 1',
        "python": f'echo "cores $SRUN_CPUS_PER_TASK, launch $*" >>{said}; exit "$CODE"',
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = {"JOB_ID": "17", "JOB_NODELIST": "here", "NNODES": "1", "GPUS_ON_NODE": "2"}
    environment = {f"SLURM_{name}": value for name, value in job.items()}
    environment |= {"SLURM_CPUS_PER_TASK": "8", "PYTHON": str(tmp_path / "python")}
    environment["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return environment, said


@pytest.mark.parametrize(("code", "queued"), [(75, True), (0, False), (2, False), (1, False)])
def test_the_script_without_ray_queues_only_what_can_go_on(node_of_slurm, code, queued):
    """`scontrol requeue` fails, as where SLURM was first: the code must still come out."""
    environment, said = node_of_slurm
    script = ROOT / "launchers" / "slurm" / "torchrun.sbatch"
    done = subprocess.run([script, "mine.yaml"], env=environment | {"CODE": str(code)})
    assert done.returncode == code
    lines = said.read_text().splitlines()
    assert ("scontrol requeue 17" in lines) is queued
    (launch,) = [line for line in lines if "launch.py" in line]
    assert launch.startswith("cores 8, launch launchers/deepspeed/launch.py --by srun ")
    assert launch.endswith("--config mine.yaml --resume-or-start")
