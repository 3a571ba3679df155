import json
import threading
import time
from contextlib import contextmanager

from dist_erase.observability.progress import follow


class Collect:
    """A view that keeps what it is given."""

    def __init__(self):
        self.steps = []

    def start(self): ...

    def row(self, row):
        self.steps.append(row["step"])

    def close(self): ...

    def wait_for(self, steps):
        end = time.monotonic() + 10
        while self.steps != steps:
            assert time.monotonic() < end, self.steps
            time.sleep(0.01)


def line(step):
    return json.dumps({"step": step, "message": "é"}, ensure_ascii=False).encode() + b"\n"


@contextmanager
def following(path, **options):
    view, stop = Collect(), threading.Event()
    thread = threading.Thread(target=follow, args=(path, view, stop), kwargs=options)
    thread.start()
    try:
        yield view
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def append(path, content):
    with path.open("ab") as file:
        file.write(content)


def test_rows_arrive_as_they_are_written_and_the_last_ones_after_the_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with following(path) as view:
        time.sleep(0.05)  # the file does not exist yet
        append(path, line(1))
        view.wait_for([1])
        append(path, line(2) + line(3))
        view.wait_for([1, 2, 3])
        append(path, line(4))
    assert view.steps == [1, 2, 3, 4]


def test_half_a_line_waits_for_its_rest(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with following(path) as view:
        cut = line(2).index("é".encode()) + 1  # within a character
        append(path, line(1) + line(2)[:cut])
        view.wait_for([1])
        append(path, line(2)[cut:])
        view.wait_for([1, 2])


def test_the_broken_line_of_a_killed_process_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append(path, line(1) + b'{"step": 2, "lo' + line(3) + b"7\n\n" + line(4))
    with following(path) as view:
        view.wait_for([1, 4])


def test_a_run_that_is_started_over_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append(path, line(1) + line(2))
    with following(path) as view:
        view.wait_for([1, 2])
        path.write_bytes(line(7))
        view.wait_for([1, 2, 7])


def test_what_an_earlier_attempt_wrote_can_be_skipped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append(path, line(1))
    with following(path, start=path.stat().st_size) as view:
        append(path, line(2))
        view.wait_for([2])
