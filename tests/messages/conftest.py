import io
import tarfile

import pytest
import torch
import yaml

from dist_erase.data.build.digits import build_digits
from dist_erase.models.export import export_model
from dist_erase.models.preprocess import image_spec
from dist_erase.models.resolve import build, resolve

TINY = "configs/models/tiny.json"


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("messages") / "digits"
    build_digits(out)
    return out


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, request):
    path = str(request.config.rootpath / TINY)
    source = resolve(path, None)
    torch.manual_seed(0)
    model = build(source)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    export_model(
        folder,
        dict(model.state_dict()),
        scalar_names=[],
        model_cfg=source.model_cfg,
        spec=image_spec(model),
    )
    return path, folder


@pytest.fixture
def config(shards, tiny, tmp_path):
    """A configuration that would run; tests spoil one thing."""
    sets = {"forget": "forget-*.tar", "retain": "retain-*.tar"}
    return {
        "run": {"name": "spoilt", "dir": str(tmp_path / "runs")},
        "model": {"architecture": tiny[0], "pretrained": f"local-dir:{tiny[1]}"},
        "data": {
            **{name: {"shards": f"{shards}/train/{p}"} for name, p in sets.items()},
            "eval": {name: {"shards": f"{shards}/eval/{p}"} for name, p in sets.items()},
            "classes": f"{shards}/classes.json",
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
