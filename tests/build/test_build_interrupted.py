"""A build that is stopped goes on where it was, and ends with the bytes of an undisturbed one."""

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import commands

from dist_erase.data.build.folder import build_folder
from dist_erase.data.stage import open_stage
from dist_erase.errors import UserError

SHARD_SIZE = 10
PHOTOS = 200


def save_photo(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_table(folder: Path, photos: int) -> Path:
    """Every fourth photo is a cat; one dog's image is a cat's too, so retain shards shift."""
    folder.mkdir()
    for number in range(photos):
        save_photo(folder / f"{number}.png", 0 if number == 5 else number)
    rows = [
        {"image": f"{n}.png", "caption": f"a {'dog' if n % 4 else 'cat'}, no. {n}"}
        for n in range(photos)
    ]
    table = folder / "captions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path / "photos", PHOTOS)


def build(out: Path, table: Path, **changes):
    options = {"forget_regex": "cat", "shard_size": SHARD_SIZE, **changes}
    return build_folder(out, table=table, **options)


class StopAfter:
    """Ctrl-C at the n-th report of one kind."""

    def __init__(self, what: str, reports: int) -> None:
        self.what, self.left = what, reports

    def __call__(self, what: str, done: int, planned: int) -> None:
        self.left -= what == self.what
        if self.left == 0:
            raise KeyboardInterrupt


def stop(out: Path, table: Path, what: str, reports: int, **changes) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(out, table, progress=StopAfter(what, reports), **changes)
    assert not out.exists()


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_finished_shards_are_kept(table, tmp_path):
    assert build(tmp_path / "whole", table).dropped_from_retain == 1
    stop(tmp_path / "out", table, "writing shards", 6)
    written = {path.stat().st_ino for path in (tmp_path / ".out.build").rglob("*.tar")}
    assert len(written) == 6
    build(tmp_path / "out", table)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert written < {path.stat().st_ino for path in (tmp_path / "out").rglob("*.tar")}
    assert names_in(tmp_path) == {"photos", "whole", "out"}


def test_hashed_photos_are_not_read_again(table, tmp_path):
    stop(tmp_path / "out", table, "reading images", 1)
    (record,) = (tmp_path / ".out.build").rglob("hashes/*/*/*.json")
    facts = json.loads(record.read_text())
    facts["hashes"][0] = "00" * 32  # nobody looks at this photo again, or this would be mended
    record.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="is another image than a moment ago"):
        build(tmp_path / "out", table)


def test_photos_that_were_replaced_since_are_read_again(table, tmp_path):
    stop(tmp_path / "out", table, "writing shards", 20)
    # Retain photos become copies of a cat: there are fewer shards than were written.
    for number in range(1, PHOTOS, 2):
        save_photo(table.parent / f"{number}.png", 0)
    build(tmp_path / "out", table)
    build(tmp_path / "whole", table)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert len(list((tmp_path / "out").rglob("*.tar"))) < 20


def test_an_unreadable_photo_is_mended_and_the_build_goes_on(table, tmp_path):
    photo = table.parent / "3.png"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:100])
    with pytest.raises(UserError, match=r"line 4, image: .*3\.png is not a readable image"):
        build(tmp_path / "out", table)
    photo.write_bytes(whole)
    build(tmp_path / "out", table)
    assert names_in(tmp_path) == {"photos", "out"}


def test_a_photo_that_changes_while_shards_are_written_is_noticed(table, tmp_path):
    def change(what: str, done: int, planned: int) -> None:
        if what == "reading images" and done == planned:
            save_photo(table.parent / "7.png", 999)

    with pytest.raises(UserError) as caught:
        build(tmp_path / "out", table, progress=change)
    assert str(caught.value) == (
        "7.png: is another image than a moment ago. Leave the images alone while they are "
        "packed, and run the same command again."
    )
    build(tmp_path / "out", table)
    build(tmp_path / "whole", table)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_other_options_start_anew(table, tmp_path):
    stop(tmp_path / "out", table, "writing shards", 6)
    build(tmp_path / "out", table, seed=1)
    build(tmp_path / "whole", table, seed=1)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert names_in(tmp_path) == {"photos", "whole", "out"}


def test_two_at_once_are_refused(table, tmp_path):
    with open_stage(tmp_path / "out", "build"), pytest.raises(UserError) as caught:
        build(tmp_path / "out", table)
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: another process is building into it. Wait, or name another folder."
    )


def test_a_replacement_killed_before_its_end_is_ended(table, tmp_path):
    build(tmp_path / "out", table)
    stage = tmp_path / ".out.build"
    (stage / "replaced").mkdir(parents=True)
    (stage / "replaced" / "dataset.json").write_text("{}")
    (stage / "sets-0").mkdir()
    assert build(tmp_path / "out", table).up_to_date
    assert names_in(tmp_path) == {"photos", "out"}


def test_a_first_build_killed_while_it_cleaned_up_leaves_nothing(table, tmp_path, monkeypatch):
    """What is left holds captions and hashes of forget pairs."""

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dist_erase.data.stage.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "out", table)
    assert names_in(tmp_path) == {"photos", "out", ".out.build"}
    assert build(tmp_path / "out", table).up_to_date
    assert names_in(tmp_path) == {"photos", "out"}


def test_a_replacement_killed_between_its_halves_is_undone(table, tmp_path):
    build(tmp_path / "out", table)
    (tmp_path / ".out.build").mkdir()
    (tmp_path / "out").rename(tmp_path / ".out.build" / "replaced")
    with open_stage(tmp_path / "out", "build"):
        assert (tmp_path / "out" / "dataset.json").exists()
    assert build(tmp_path / "out", table).up_to_date
    assert names_in(tmp_path) == {"photos", "out"}


def start(table: Path, folder: Path, workers: int) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    words = ["data", "build", "folder", "out", "--table", str(table), "--forget-regex", "cat"]
    words += ["--shard-size", str(SHARD_SIZE), "--workers", str(workers)]
    return commands.start(*words, folder=folder)


def kill_when(process: subprocess.Popen, stage: Path, pattern: str, count: int) -> None:
    deadline = time.monotonic() + 200
    while len(list(stage.glob(pattern))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.integration
def test_killed_twice_and_continued_by_another_number_of_workers(tmp_path):
    table = write_table(tmp_path / "photos", 3000)
    build(tmp_path / "whole", table)
    folder = tmp_path / "killed"
    stage = folder / ".out.build"
    kill_when(start(table, folder, 2), stage, "sets-*/hashes/*/*/*.json", 2)
    assert not (folder / "out").exists()
    kill_when(start(table, folder, 0), stage, "sets-*/records/*/*.json", 10)
    assert not (folder / "out").exists()
    written = {path.stat().st_ino for path in stage.glob("sets-*/data/*/*.tar")}
    last = start(table, folder, 2)
    _, err = last.communicate(timeout=200)
    assert last.returncode == 0, err
    assert names_in(folder) == {"out"}
    assert bytes_of(folder / "out") == bytes_of(tmp_path / "whole")
    kept = {path.stat().st_ino for path in (folder / "out").rglob("*.tar")}
    assert len(kept & written) >= 10  # not written a second time
