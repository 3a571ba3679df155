"""The wheel that travels: pip and Ray take it for what it is."""

import csv
import hashlib
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dist_erase
from dist_erase.orchestration.jobs.wheel import wheel

CODE = {"dist_erase/__init__.py": b"answer = 42\n", "dist_erase/report/page.html": b"<p>\n"}


@pytest.fixture
def path(tmp_path):
    name, content = wheel(CODE)
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def test_pip_installs_it_without_asking_for_anything_else(path, tmp_path):
    """As Ray does it, with no index that could be asked."""
    pip = [sys.executable, "-m", "pip", "install", "--no-index", path, f"--target={tmp_path}/on"]
    subprocess.run(pip, check=True, capture_output=True, timeout=60)
    ask = (
        "import dist_erase, importlib.metadata as installed\n"
        "print(dist_erase.answer, installed.version('dist-erase'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path / "on", check=True, capture_output=True, text=True
    )
    assert said.stdout == f"42 {dist_erase.__version__}\n"
    assert (tmp_path / "on/dist_erase/report/page.html").read_bytes() == b"<p>\n"


def test_its_record_holds_every_file(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (record,) = [name for name in names if name.endswith("RECORD")]
        rows = {row[0]: row[1:] for row in csv.reader(archive.read(record).decode().splitlines())}
        assert set(rows) == set(names)
        assert rows.pop(record) == ["", ""]
        for name, (said, size) in rows.items():
            content = archive.read(name)
            digest = urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (said, int(size)) == (f"sha256={digest}", len(content))


@given(st.dictionaries(st.sampled_from(["a.py", "b.py", "c/d.py"]), st.binary(max_size=9)))
def test_its_name_tells_one_content_from_another(files):
    """Ray keeps the first wheel of a name and goes on with it."""
    here = wheel(files)
    assert wheel(dict(reversed(files.items()))) == here
    assert wheel({**files, "e.py": b""})[0] != here[0]
    for name, content in files.items():
        assert wheel({**files, name: content + b"x"})[0] != here[0]
