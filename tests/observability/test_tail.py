"""The rows of a file that grows, shrinks, and holds what killed processes leave."""

import json

from dist_erase.observability.sources import Tail


def line(step):
    return json.dumps({"step": step, "message": "é"}, ensure_ascii=False).encode() + b"\n"


def append(path, content):
    with path.open("ab") as file:
        file.write(content)


def steps(tail):
    return [row["step"] for row in tail.read()]


def test_rows_arrive_once_as_they_are_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert steps(tail) == []  # the file does not exist yet
    append(path, line(1))
    assert steps(tail) == [1]
    append(path, line(2) + line(3))
    assert steps(tail) == [2, 3]
    assert steps(tail) == []


def test_half_a_line_waits_for_its_rest(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    cut = line(2).index("é".encode()) + 1  # within a character
    append(path, line(1) + line(2)[:cut])
    assert steps(tail) == [1]
    append(path, line(2)[cut:])
    assert steps(tail) == [2]


def test_the_broken_line_of_a_killed_process_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append(path, line(1) + b'{"step": 2, "lo' + line(3) + b"7\n\n" + line(4))
    assert steps(Tail(path)) == [1, 4]


def test_a_run_that_is_started_over_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append(path, line(1) + line(2))
    tail = Tail(path)
    assert steps(tail) == [1, 2]
    path.write_bytes(line(7))
    assert steps(tail) == [7]
