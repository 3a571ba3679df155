import io
import tarfile

import pytest
import yaml
from support.tiny import new_model

TINY = "configs/models/tiny.json"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, request):
    path = str(request.config.rootpath / TINY)
    return path, new_model(path, tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def config(digits, tiny, tmp_path):
    """A configuration that would run; tests spoil one thing."""
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    return {
        "run": {"name": "spoilt", "dir": str(tmp_path / "runs")},
        "model": {"architecture": tiny[0], "pretrained": f"local-dir:{tiny[1]}"},
        "data": {
            **{name: {"shards": f"{digits}/train/{p}"} for name, p in sets.items()},
            "eval": {name: {"shards": f"{digits}/eval/{p}"} for name, p in sets.items()},
            "classes": f"{digits}/classes.json",
            "workers": 0,
        },
        "train": {"forget_batch": 8, "retain_batch": 16, "max_steps": 4, "precision": "fp32"},
        "teacher": {"kind": "local", "dtype": "fp32"},
        "ray": {"workers": 1},
        "observe": {"grace_seconds": 0},
    }


@pytest.fixture
def write(tmp_path):
    """Writes a configuration file."""

    def write_config(config):
        path = tmp_path / "spoilt.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write_config


@pytest.fixture
def spoil(tmp_path):
    """Copies a shard with some members changed: `change(name, data)` gives bytes or None."""

    def spoil_shard(shard, change):
        out = tmp_path / shard.name
        with tarfile.open(shard) as old, tarfile.open(out, "w") as new:
            for member in old:
                data = change(member.name, old.extractfile(member).read())
                if data is not None:
                    member.size = len(data)
                    new.addfile(member, io.BytesIO(data))
        return out

    return spoil_shard
