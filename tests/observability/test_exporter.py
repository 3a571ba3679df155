import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from support.raw import saying

from dist_erase.errors import UserError
from dist_erase.observability import exporter as exporter_module
from dist_erase.observability.emit import Metrics
from dist_erase.observability.exporter import Exposure, RunExporter
from dist_erase.observability.snapshot import from_text, to_text

RUN = "seven"
FACTS = dict.fromkeys(
    ("version", "config_hash", "ray_job_id", "python", "torch", "deepspeed", "ray", "open_clip"),
    "1",
)


@pytest.fixture
def start(tmp_path):
    """Starts exporters over tmp_path/metrics and stops them all at the end."""
    started = []

    def start_one(*, grace_seconds=0.0, bind="127.0.0.1", port=0, node=None, **more):
        exposure = Exposure(
            run=RUN,
            discovery=tmp_path / ".file_sd",
            bind=bind,
            port=port,
            grace_seconds=grace_seconds,
            **more,
        )
        one = RunExporter(tmp_path / "metrics", exposure, node=node)
        started.append(one)
        return one

    yield start_one
    for one in started:
        one.close()


def get(exporter, path="/metrics"):
    with urllib.request.urlopen(f"http://{exporter.address}{path}", timeout=10) as response:
        return response.read().decode()


def put(folder, metrics, pid=1, age=0.0):
    """A snapshot of `metrics`, last written `age` seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{metrics.role}-{metrics.rank}-{pid}.prom"
    path.write_text(to_text(metrics.registry.collect()))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def student(rank, node="a"):
    return Metrics(run=RUN, role="student", rank=rank, node=node)


def series(text, name):
    """Labels → value of one metric."""
    return {
        tuple(sorted(s.labels.items())): s.value
        for family in from_text(text)
        for s in family.samples
        if s.name == name
    }


def test_all_processes_are_served_at_one_address(start, tmp_path):
    for rank in (0, 1):
        metrics = student(rank)
        metrics.samples_total.inc(10 + rank, "forget")
        metrics.step_seconds.observe(0.2)
        put(tmp_path / "metrics", metrics)
    teacher = Metrics(run=RUN, role="teacher", rank=0)
    teacher.teacher_replica_pairs_total.inc(5)
    put(tmp_path / "metrics", teacher)

    text = get(start())

    counts = {
        dict(labels)["rank"]: value
        for labels, value in series(text, "dist_erase_samples_total").items()
        if dict(labels)["stream"] == "forget"
    }
    assert counts == {"0": 10, "1": 11}
    assert list(series(text, "dist_erase_teacher_replica_pairs_total").values()) == [5]
    heads = [line.split()[:3] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len({tuple(head) for head in heads})
    if shutil.which("promtool"):
        check = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert (check.returncode, check.stdout + check.stderr) == (0, "")


def test_nothing_there_yet_is_served_too(start):
    assert "dist_erase_heartbeat_timestamp_seconds" in get(start())


def test_a_restarted_process_replaces_itself_even_on_another_node(start, tmp_path):
    old, new = student(0, "a"), student(0, "b")
    old.step.set(50)
    old.loss.set(1.0, "anchor")
    new.step.set(40)
    put(tmp_path / "metrics", old, pid=9, age=60)
    put(tmp_path / "metrics", new, pid=1, age=1)
    text = get(start())
    assert list(series(text, "dist_erase_step").values()) == [40]
    # What only the ended process knew stays.
    assert list(series(text, "dist_erase_loss").values()) == [1.0]


def test_run_info_is_replaced_as_a_whole(start, tmp_path):
    for age, world in ((60, "2"), (1, "1")):
        driver = Metrics(run=RUN, role="driver", rank=0)
        driver.run_info.set(**FACTS, world_size=world)
        put(tmp_path / "metrics", driver, pid=age, age=age)
    (labels,) = series(get(start()), "dist_erase_run_info")
    assert dict(labels)["world_size"] == "1"


def test_broken_files_are_left_out_and_counted(start, tmp_path):
    good = student(0)
    good.step.set(3)
    put(tmp_path / "metrics", good)
    whole = put(tmp_path / "metrics", student(1)).read_bytes()
    broken = {
        "student-2-1.prom": whole[: len(whole) // 2],
        "student-3-1.prom": b"",
        "student-4-1.prom": b"\xff\xfe not text\n# EOF\n",
        "student-5-1.prom": b'dist_erase_step{run="x} 1\n# EOF\n',
        "student-6-1.prom": b"# TYPE dist_erase_step nonsense\ndist_erase_step 1\n# EOF\n",
    }
    for name, content in broken.items():
        (tmp_path / "metrics" / name).write_bytes(content)
    (tmp_path / "metrics" / "folder.prom").mkdir()
    text = get(start())
    assert list(series(text, "dist_erase_step").values()) == [3]
    skipped = series(text, "dist_erase_exporter_skipped_snapshots_total")
    assert list(skipped.values()) == [len(broken) + 1]


def test_discovery_by_http_and_by_file_name_the_same_address(start, tmp_path):
    exporter = start()
    file_sd = tmp_path / ".file_sd" / f"{RUN}.json"
    expected = [
        {"targets": [exporter.address], "labels": {"__meta_dist_erase_run": RUN}},
    ]
    assert json.loads(get(exporter, "/targets")) == expected
    assert json.loads(file_sd.read_text()) == expected
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(exporter, "/secret")
    exporter.close()
    assert not file_sd.exists()


def test_the_end_waits_for_one_more_scrape(start, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter_module, "_NOBODY_SCRAPES_SECONDS", 0.0)  # a long run
    exporter = start(grace_seconds=30)
    get(exporter)  # a scrape before the end is not the last one
    assert exporter._scraped.wait(5)  # it is counted when it is out, which we may see sooner
    closing = threading.Thread(target=exporter.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    last = student(0)
    last.step.set(100)
    put(tmp_path / "metrics", last)
    assert list(series(get(exporter), "dist_erase_step").values()) == [100]
    closing.join(5)
    assert not closing.is_alive()
    with pytest.raises(urllib.error.URLError):
        get(exporter)


def test_the_end_does_not_wait_longer_than_the_grace(start):
    began = time.monotonic()
    start(grace_seconds=0.3).close()
    assert 0.3 <= time.monotonic() - began < 5


def test_the_end_does_not_wait_for_a_prometheus_that_never_came(start, monkeypatch):
    monkeypatch.setattr(exporter_module, "_NOBODY_SCRAPES_SECONDS", 0.0)
    began = time.monotonic()
    start(grace_seconds=30).close()
    assert time.monotonic() - began < 5


def test_a_taken_port_is_a_user_error(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            start(port=port)
    assert str(caught.value) == (
        f"observe.bind, observe.port: cannot listen on 127.0.0.1 port {port} (Address already in "
        "use). Give an address of this machine and a free port; port 0 finds one."
    )


def test_bound_to_every_interface_it_names_an_address_that_answers(start):
    exporter = start(bind="0.0.0.0")
    assert not exporter.address.startswith("0.0.0.0")
    assert "dist_erase" in get(exporter)


def push_failures(exporter):
    return list(series(exporter.text(), "dist_erase_exporter_push_failures_total").values())


def test_a_gateway_that_speaks_no_http_costs_only_the_values(start, tmp_path, caplog):
    with saying(b"\x00\x1b[31m\x00") as url:
        exporter = start(pushgateway=url)
        exporter._pusher._thread.join(0.5)
        assert exporter._pusher._thread.is_alive()
        exporter.close()
    assert push_failures(exporter) == [3]  # the first push, the last one and the deletion
    assert caplog.text.count(f"observe.pushgateway: {url}: what answers does not speak HTTP") == 1
    assert "\x1b" not in caplog.text
    assert not (tmp_path / ".file_sd" / f"{RUN}.json").exists()


def test_what_fails_at_the_end_leaves_no_address_behind(start, tmp_path):
    exporter = start()
    file_sd = tmp_path / ".file_sd" / f"{RUN}.json"
    file_sd.unlink()
    file_sd.mkdir()  # cannot be unlinked
    with pytest.raises(OSError, match=RUN):
        exporter.close()
    assert exporter._server._server.fileno() == -1
