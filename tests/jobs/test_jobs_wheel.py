"""What travels of dist-erase: a wheel, unpacked as pip would."""

import csv
import hashlib
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from importlib.metadata import distributions

import dist_erase
from dist_erase.orchestration.jobs.wheel import unpacked_wheel

CODE = {"dist_erase/__init__.py": b"answer = 42\n", "dist_erase/report/page.html": b"<p>\n"}


def test_the_folder_is_an_installed_package(tmp_path):
    for name, content in unpacked_wheel(CODE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (found,) = distributions(path=[str(tmp_path)])
    assert (found.name, found.version) == ("dist-erase", dist_erase.__version__)
    assert not found.requires  # the nodes have what it depends on
    assert {str(path) for path in found.files or ()} >= set(CODE)


def test_zipped_it_is_a_wheel_that_pip_takes(tmp_path):
    path = tmp_path / f"dist_erase-{dist_erase.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in unpacked_wheel(CODE).items():
            archive.writestr(name, content)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", path, f"--target={tmp_path}/on"]
    subprocess.run(pip, check=True, capture_output=True, timeout=60)
    for name, content in CODE.items():
        assert (tmp_path / "on" / name).read_bytes() == content


def test_its_record_holds_every_file():
    made = unpacked_wheel(CODE)
    (record,) = [name for name in made if name.endswith("RECORD")]
    rows = {row[0]: row[1:] for row in csv.reader(made[record].decode().splitlines())}
    assert set(rows) == set(made)
    assert rows.pop(record) == ["", ""]
    for name, (said, size) in rows.items():
        digest = urlsafe_b64encode(hashlib.sha256(made[name]).digest()).decode().rstrip("=")
        assert (said, int(size)) == (f"sha256={digest}", len(made[name]))


def test_the_order_of_files_changes_nothing():
    assert unpacked_wheel(dict(reversed(CODE.items()))) == unpacked_wheel(CODE)
