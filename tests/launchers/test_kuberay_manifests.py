"""The KubeRay manifests: their fields, and that they fit each other, the run and the monitoring."""

import copy
import json
import shlex
import subprocess
import time
from pathlib import Path, PurePosixPath

import pytest
import typer
import yaml
from ray._private import ray_constants
from support.kuberay import problems

from dist_erase.cli.app import app
from dist_erase.config.launcher import load_launcher
from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.orchestration.jobs.command import FOLDER, RUN
from dist_erase.orchestration.stop_request import stop_requested

DRAIN_SECONDS = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "launchers" / "ray" / "kuberay"
FILES = sorted(MANIFESTS.glob("*.yaml"))
RESOURCES = [
    (path.name, resource) for path in FILES for resource in yaml.safe_load_all(path.read_text())
]


def resource(kind: str) -> dict:
    (found,) = [one for _, one in RESOURCES if one["kind"] == kind]
    return copy.deepcopy(found)


@pytest.fixture
def job():
    return resource("RayJob")


@pytest.fixture
def clusters(job):
    return [resource("RayCluster")["spec"], job["spec"]["rayClusterSpec"]]


@pytest.fixture
def config(tmp_path) -> RunConfig:
    """What the RayJob runs."""
    (text,) = resource("ConfigMap")["data"].values()
    (tmp_path / "erase.yaml").write_text(text)
    return load_config(tmp_path / "erase.yaml", [], RunConfig).config


def groups(cluster: dict) -> dict[str, dict]:
    return {group["groupName"]: group for group in cluster["workerGroupSpecs"]}


def pods(cluster: dict) -> list[dict]:
    specs = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [spec["template"]["spec"] for spec in specs]


def container(job: dict) -> dict:
    return job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]


def custom(group: dict) -> dict:
    """KubeRay hands the text to a shell, so JSON stands in quotes of its own."""
    (words,) = shlex.split(group["rayStartParams"]["resources"])
    return json.loads(words)


@pytest.mark.parametrize(("name", "found"), RESOURCES)
def test_every_resource_fits_the_crds_and_kubernetes(name, found):
    assert problems(found) == [], name


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda job: job["spec"].update(backOffLimit=2), "backOffLimit"),
        (lambda job: job["spec"].update(backoffLimit="2"), "backoffLimit: '2' is not of type"),
        (lambda job: job["spec"]["rayClusterSpec"].pop("headGroupSpec"), "'headGroupSpec' is a"),
        (
            lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="Token"),
            "authOptions.mode: 'Token'",
        ),
        (
            lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(
                {"num-cpus": 0}
            ),
            "0 is not of type 'string'",
        ),
        (
            lambda job: container(job).update(
                ports=[{"name": "dist-erase", "containerport": 9464}]
            ),
            "'containerport' was unexpected",
        ),
        (
            lambda job: container(job)["resources"]["limits"].update(cpu=[4]),
            "resources.limits.cpu: [4] is not",
        ),
        (lambda job: container(job)["resources"]["limits"].update(cpu="four"), "no quantity"),
        (lambda job: container(job).pop("image"), "ray-head has no image"),
        (lambda job: job["metadata"].pop("name"), "metadata.name is missing"),
        (lambda job: job["spec"].update(submissionMode="K8sjobmode"), "'K8sjobmode' is not one"),
        (lambda job: job.update(kind="RayJobs"), "kind: 'RayJobs' is unknown"),
        (lambda job: job.update(apiVersion="ray.io/v1alpha1"), "kind: 'RayJob' is unknown"),
    ],
)
def test_a_mistake_is_found(job, spoil, complaint):
    spoil(job)
    assert complaint in " ".join(problems(job))


def test_retries_go_on_from_the_newest_checkpoint(job):
    spec = job["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[:2] == ["dist-erase", "run"]
    assert {"--resume-or-start", "--accept-missed-goals"} <= set(words)
    run = typer.main.get_command(app).commands["run"]
    known = {option for parameter in run.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert spec["submitterConfig"]["backoffLimit"] == 0
    assert spec["backoffLimit"] > 0
    assert spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
    assert spec["shutdownAfterJobFinishes"]


def test_a_try_that_fails_at_its_start_takes_no_gpu(clusters):
    for cluster in clusters:
        assert [group["replicas"] for group in cluster["workerGroupSpecs"]] == [0, 0]
        assert cluster["enableInTreeAutoscaling"]


def test_ray_drains_a_pod_for_as_long_as_kubernetes_lets_it(clusters):
    """Longer than its default of 30 s, and with room to end before SIGKILL."""
    for cluster in clusters:
        for group in cluster["workerGroupSpecs"]:
            spec = group["template"]["spec"]
            variables = {v["name"]: v["value"] for v in spec["containers"][0]["env"]}
            drain = float(variables[DRAIN_SECONDS])
            assert 30 < drain <= spec["terminationGracePeriodSeconds"] - 5


def test_ray_knows_that_setting():
    assert hasattr(ray_constants, DRAIN_SECONDS)


def test_the_head_pod_asks_the_run_to_stop_and_waits_for_its_end(job, tmp_path):
    """The hook as it stands, in a folder that is here; the run is a script that obeys."""
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert head["terminationGracePeriodSeconds"] > 110
    command = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    folder = job["spec"]["metadata"][FOLDER]
    assert folder in command[-1]
    here = [*command[:-1], command[-1].replace(folder, str(tmp_path / "run"))]
    subprocess.run(here, check=True, timeout=10)  # there is no run yet
    (tmp_path / "run").mkdir()
    hook = subprocess.Popen(here)
    while (asked := stop_requested(tmp_path / "run")) is None:
        assert hook.poll() is None
        time.sleep(0.05)
    assert asked.words == "the end of its head pod"
    assert hook.poll() is None
    (tmp_path / "run" / "end.json").touch()
    assert hook.wait(timeout=10) == 0


def test_status_and_logs_know_the_job(job, config):
    folder = str(PurePosixPath(config.run.dir) / config.run.name)
    assert job["spec"]["metadata"] == {RUN: config.run.name, FOLDER: folder}


def test_nobody_without_the_token_gets_in(clusters):
    assert [cluster["authOptions"]["mode"] for cluster in clusters] == ["token", "token"]


def test_checkpoints_lie_on_a_disk_that_every_pod_mounts(clusters, config):
    claim = resource("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for cluster in clusters:
        for pod in pods(cluster):
            claims = {
                volume["name"]: volume["persistentVolumeClaim"]["claimName"]
                for volume in pod["volumes"]
                if "persistentVolumeClaim" in volume
            }
            mounts = pod["containers"][0]["volumeMounts"]
            (at,) = [m["mountPath"] for m in mounts if m["name"] in claims]
            assert set(claims.values()) == {claim["metadata"]["name"]}
            assert PurePosixPath(config.run.dir).is_relative_to(at)
            names = {volume["name"] for volume in pod["volumes"]}
            assert {mount["name"] for mount in mounts} == names


def test_the_jobs_configuration_is_mounted_where_the_command_reads_it(job):
    spec = job["spec"]
    path = PurePosixPath(shlex.split(spec["entrypoint"])[2])
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (mount,) = [m for m in head["containers"][0]["volumeMounts"] if m["name"] == "config"]
    (volume,) = [v for v in head["volumes"] if v["name"] == "config"]
    written = resource("ConfigMap")
    assert volume["configMap"]["name"] == written["metadata"]["name"]
    assert path == PurePosixPath(mount["mountPath"]) / next(iter(written["data"]))


def test_one_named_port_serves_the_metrics_of_a_pod(clusters, config):
    monitor = yaml.safe_load((ROOT / "monitoring/kubernetes/podmonitor.yml").read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert config.observe.per_node
    for cluster in clusters:
        for pod in pods(cluster):
            ports = {p["name"]: p["containerPort"] for p in pod["containers"][0]["ports"]}
            assert ports[endpoint["port"]] == config.observe.port


def test_the_jobs_cluster_holds_its_run(job, config):
    """Students and teachers each find a pod of their own group, as many as there can be."""
    found = groups(job["spec"]["rayClusterSpec"])
    for name, asked, count in (
        ("students", config.ray.resources_per_worker, config.ray.workers),
        ("teachers", config.ray.teacher_resources, config.teacher.replicas),
    ):
        limits = found[name]["template"]["spec"]["containers"][0]["resources"]["limits"]
        offered = {"CPU": int(limits["cpu"]), "GPU": int(limits["nvidia.com/gpu"])}
        offered |= custom(found[name])
        assert all(offered.get(key, 0) >= amount for key, amount in asked.items()), name
        assert found[name]["maxReplicas"] >= count
    assert config.ray.autoscale_seconds > 0


def test_the_launcher_fits_the_cluster(tmp_path):
    launcher = load_launcher(ROOT / "launchers/ray/kuberay.yaml")
    cluster = resource("RayCluster")
    assert launcher.cluster == cluster["metadata"]["name"]
    config = load_config(ROOT / "configs/quickstart.yaml", launcher.overrides, RunConfig).config
    found = groups(cluster["spec"])
    assert set(custom(found["students"])) <= set(config.ray.resources_per_worker)
    assert set(custom(found["teachers"])) <= set(config.ray.teacher_resources)
    assert config.ray.autoscale_seconds > 0
    assert config.observe.port == 9464
