"""What travels with a job, what stays, and what is refused before anything is sent."""

import itertools
import json
import shlex
from pathlib import Path

import pytest
import yaml

import dist_erase
from dist_erase.config.launcher import Launcher, LocalLauncher
from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.jobs.package import LIMIT_BYTES
from dist_erase.orchestration.jobs.submit import prepare
from dist_erase.orchestration.shipped import NOTE, settle

ROOT = Path(__file__).parents[2]
FAR = ("run.dir=/shared/runs", "model.pretrained=openai")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with a configuration whose small files lie beside it, and whose data is far."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/tiny.json").write_text((ROOT / "configs/models/tiny.json").read_text())
    (tmp_path / "classes.json").write_text('["one", "two"]')
    source = {"shards": "/shared/a-*.tar"}
    tree = {
        "run": {"name": "seven", "dir": "/shared/runs"},
        "model": {"architecture": "configs/tiny.json", "pretrained": "openai"},
        "data": {
            "forget": source,
            "retain": source,
            "eval": {"forget": source, "retain": source},
            "classes": str(tmp_path / "classes.json"),
        },
    }
    (tmp_path / "erase.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def prepared(*overrides: str, launcher: Launcher | None = None, **options):
    return prepare(
        Path("erase.yaml"),
        overrides,
        launcher or Launcher(),
        folder=Path("package").absolute(),
        **options,
    )


def refused(*overrides: str, launcher: Launcher | None = None) -> str:
    with pytest.raises(UserError) as caught:
        prepared(*overrides, launcher=launcher)
    assert not Path("package").exists()  # nothing was copied
    return str(caught.value)


def test_code_configuration_and_the_files_it_names_travel_and_nothing_else(desk):
    made = prepared("train.lr=1e-6")
    names = set(made.package.sizes)
    code = {name for name in names if name.startswith("dist_erase")}
    assert names - code == {"erase.yaml", "configs/tiny.json", "files/classes.json"}
    assert f"dist_erase-{dist_erase.__version__}.dist-info/METADATA" in code
    assert {"dist_erase/__main__.py", "dist_erase/evaluation/report/template.html"} <= code
    assert not [name for name in code if "__pycache__" in name]
    assert made.package.bytes < 5 * 2**20
    assert made.in_words().startswith("package: ")
    found = {str(p.relative_to("package")) for p in Path("package").rglob("*") if p.is_file()}
    assert found == names | {NOTE}


def test_the_command_is_a_plain_run(desk):
    made = prepared("train.lr=1e-6", flags=["--resume"])
    words = "python -m dist_erase run erase.yaml train.lr=1e-6 ray.address=auto"
    assert shlex.join(made.order.words) == f"{words} data.classes=files/classes.json --resume"
    image = made.order.launcher.model_copy(update={"code": "image"})
    there = prepare(Path("erase.yaml"), [], image, folder=Path("other").absolute())
    assert there.order.words[:3] == ("dist-erase", "run", "erase.yaml")
    assert set(there.package.sizes) == {"erase.yaml", "configs/tiny.json", "files/classes.json"}


def test_the_line_for_ray_says_everything(desk):
    launcher = Launcher.model_validate(
        {
            "entrypoint": {"cpus": 1, "memory": "2GB", "resources": {"head": 0.5}},
            "env": {"NCCL_SOCKET_IFNAME": "eth0"},
        }
    )
    made = prepared(launcher=launcher)
    words = shlex.split(made.order.plain("http://h:8265", wait=False))
    assert words[:5] == ["ray", "job", "submit", "--address", "http://h:8265"]
    given = dict(itertools.pairwise(words))
    assert given["--entrypoint-num-cpus"] == "1.0"
    assert given["--entrypoint-memory"] == "2000000000"
    assert json.loads(given["--entrypoint-resources"]) == {"head": 0.5}
    assert json.loads(given["--runtime-env-json"]) == {
        "working_dir": str(desk / "package"),
        "env_vars": {"NCCL_SOCKET_IFNAME": "eth0"},
    }
    assert json.loads(given["--metadata-json"])["dist_erase_folder"] == "/shared/runs/seven"
    assert "--no-wait" in words
    assert tuple(words[words.index("--") + 1 :]) == made.order.words


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("run.dir=runs", "run.dir"),
        ("data.retain.shards=[/a.tar, 'b/{0..3}.tar']", "data.retain.shards"),
        ("data.eval.untouched={x: {shards: c.tar}}", "data.eval.untouched.x.shards"),
        ("model.pretrained=local-dir:runs/original/model", "model.pretrained"),
        ("data.block_cache.dir=cache", "data.block_cache.dir"),
        ("observe.web_config=web.yml", "observe.web_config"),
    ],
)
def test_a_path_that_the_nodes_cannot_know_is_refused(desk, override, key):
    said = refused(override)
    assert said.startswith(f"{key}: is no path that the cluster's nodes can know")
    assert "shared_disk: true" in said


def test_a_file_that_should_travel_and_is_missing_is_refused(desk):
    said = refused("model.architecture=configs/tyni.json")
    assert said.startswith("model.architecture: there is no file configs/tyni.json")


def test_urls_and_paths_of_the_nodes_stay_as_they_are(desk):
    shards = "data.forget.shards=[s3://bucket/a.tar, '/shared/b.tar', hf://datasets/x/c.tar]"
    made = prepared(shards, "data.classes=/nodes/classes.json")
    assert list(made.order.words[-3:]) == [
        shards,
        "data.classes=/nodes/classes.json",
        "ray.address=auto",
    ]


def test_on_a_shared_disk_relative_paths_become_absolute(desk):
    launcher = LocalLauncher(kind="local")
    made = prepared("run.dir=runs", "data.forget.shards=[a.tar, b.tar]", launcher=launcher)
    assert f"run.dir={desk}/runs" in made.order.words
    assert f'data.forget.shards=["{desk}/a.tar", "{desk}/b.tar"]' in made.order.words
    assert f"model.architecture={desk}/configs/tiny.json" in made.order.words
    assert made.order.marks["dist_erase_folder"] == f"{desk}/runs/seven"
    assert {name for name in made.package.sizes if not name.startswith("dist_erase")} == {
        "erase.yaml"
    }


def test_too_large_a_package_is_refused_with_its_largest_files(desk):
    (desk / "extra").mkdir()
    for name, mib in (("small", 1), ("weights.bin", 70), ("more.bin", 25)):
        with (desk / "extra" / name).open("wb") as stream:
            stream.truncate(mib * 2**20)
    said = refused(launcher=Launcher(include=["extra"]))
    assert "more than 90.0 MiB" in said
    assert "extra/weights.bin (70.0 MiB), extra/more.bin (25.0 MiB), extra/small (1.0 MiB)" in said
    assert LIMIT_BYTES == 90 * 2**20


def test_shards_runs_and_git_stay_here(desk):
    for name in ("x/.git/config", "x/a.tar", "x/runs/seven/config.json", "x/__pycache__/a.pyc"):
        (desk / name).parent.mkdir(parents=True, exist_ok=True)
        (desk / name).write_text("x")
    (desk / "x/keep.json").write_text("{}")
    made = prepared(f"run.dir={desk}/x/runs", launcher=Launcher(include=["x"]))
    assert [name for name in made.package.sizes if name.startswith("x/")] == ["x/keep.json"]
    assert made.package.left_out == 4
    assert "left out: 4 files" in made.in_words()


@pytest.mark.parametrize("entry", ["../x", "/etc", "nowhere"])
def test_only_what_lies_below_can_be_included(desk, entry):
    assert refused(launcher=Launcher(include=[entry])).startswith(f"include: {entry}: does not ")


@pytest.mark.parametrize(
    "section",
    [
        {"data": {"forget": {"shards": "https://store/a.tar?X-Amz-Signature=hunter2"}}},
        {"deepspeed": {"comet": {"api_key": "hunter2"}}},
    ],
)
def test_a_value_that_looks_secret_is_refused_and_not_repeated(desk, section):
    tree = yaml.safe_load((desk / "erase.yaml").read_text())
    for name, inner in section.items():
        tree[name] = {**tree.get(name, {}), **inner}
    (desk / "erase.yaml").write_text(yaml.safe_dump(tree))
    said = refused()
    assert "looks like a credential" in said
    assert "hunter2" not in said


def test_of_the_file_only_what_is_in_force_travels(desk):
    tree = yaml.safe_load((desk / "erase.yaml").read_text())
    tree["data"]["forget"] = {"shards": "https://me:hunter2@store/a.tar"}
    tree["train"] = {"lr": 1e-5, "weight_decay": 1e5}
    (desk / "erase.yaml").write_text(f"# HF_TOKEN=hunter2\n{yaml.safe_dump(tree)}")
    overrides = ("data.forget.shards=/shared/a.tar", "run.name='1e5'", "objective.preset=paper")
    made = prepared(*overrides)
    files = [path for path in Path("package").rglob("*") if path.is_file()]
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
    expected = load_config(Path("erase.yaml"), [*overrides, "ray.address=auto"], RunConfig)
    travelled = load_config(Path("package/erase.yaml"), [], RunConfig)
    assert travelled.config.model_dump() == expected.config.model_dump()
    assert made.package.sizes["erase.yaml"] == Path("package/erase.yaml").stat().st_size


def test_a_url_with_a_plain_query_is_no_secret(desk):
    shards = "data.forget.shards=https://store/a.tar?versionId=7"
    assert shards in prepared(shards).order.words


def test_the_same_files_make_the_same_package(desk):
    one = prepare(Path("erase.yaml"), FAR, Launcher(), folder=Path("one"))
    other = prepare(Path("erase.yaml"), FAR, Launcher(), folder=Path("other"))
    assert one.package.sizes == other.package.sizes
    assert (Path("one") / NOTE).read_bytes() == (Path("other") / NOTE).read_bytes()
    assert one.order.submission_id != other.order.submission_id


def test_a_used_folder_is_refused(desk):
    (desk / "package").mkdir()
    (desk / "package/mine").write_text("x")
    with pytest.raises(UserError, match="is not empty"):
        prepared()


def test_on_the_node_files_are_kept_beside_the_runs(desk, monkeypatch):
    made = prepared(f"run.dir={desk}/far/runs")
    monkeypatch.chdir(desk / "package")

    words = [word for word in made.order.words[5:] if "=" in word]
    config = settle(load_config(Path("erase.yaml"), words, RunConfig).config)
    for path in (config.model.architecture, config.data.classes):
        assert Path(path).is_relative_to(desk / "far/runs/.inputs")
    assert Path(config.model.architecture).name == "tiny.json"
    assert Path(config.data.classes).read_text() == '["one", "two"]'
    assert settle(config) == config


def test_what_the_launcher_counts_on_must_be_on_the_node(desk, monkeypatch):
    launcher = Launcher.model_validate(
        {"secrets": {"env": ["MY_STORE_TOKEN"], "files": [str(desk / "secret")]}}
    )
    made = prepared(launcher=launcher)
    assert "MY_STORE_TOKEN" not in made.order.plain("http://h:8265", wait=True)
    monkeypatch.chdir(desk / "package")

    config = load_config(Path("erase.yaml"), [], RunConfig).config
    with pytest.raises(UserError, match=r"secrets\.env: MY_STORE_TOKEN: is not set where"):
        settle(config)
    monkeypatch.setenv("MY_STORE_TOKEN", "hunter2")
    with pytest.raises(UserError, match=r"secrets\.files: .*secret: cannot be read where"):
        settle(config)
    (desk / "secret").write_text("x")
    settle(config)


def test_without_a_package_nothing_is_settled(desk):

    config = load_config(Path("erase.yaml"), [], RunConfig).config
    assert settle(config) is config
