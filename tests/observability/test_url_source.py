"""What answers at a run's address, and what each kind of answer means to who watches."""

from __future__ import annotations

import pytest
from support.raw import saying
from support.scraped import RUN, RunMetrics

from dist_erase.errors import UserError
from dist_erase.observability.sources import UrlSource

HEAD = b"HTTP/1.0 200 OK\r\n"


@pytest.fixture
def body(tmp_path):
    run = RunMetrics(tmp_path / "metrics")
    run.step(3)
    return run.text().encode()


def with_length(body):
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body)


def poll(words):
    with saying(words) as url:
        return UrlSource(f"{url}/metrics").poll()


def test_a_whole_answer_is_a_run(body):
    assert poll(with_length(body) + body).facts.run == RUN
    assert poll(HEAD + b"\r\n" + body).facts.run == RUN


def test_a_run_killed_as_it_answers_is_silent_and_not_a_wrong_address(body):
    middle = body.index(b"dist_erase_step{") + 20  # in a line, which is no Prometheus text then
    for left in (0, 10, middle, len(body) - 1):
        assert poll(with_length(body) + body[:left]).silent == "the answer broke off"
    for left in (middle, body.rindex(b"# EOF")):  # and nobody said how long it would be
        assert poll(HEAD + b"\r\n" + body[:left]).silent == "the answer broke off"


def test_others_are_told_from_a_run():
    with pytest.raises(UserError, match="what answers does not speak HTTP"):
        poll(b"\x00\x00\x18\x04")
    for other in (b"node_load1 0.5\n", b'[{"labels": {"__meta_dist_erase_run": "seven"}}]'):
        with pytest.raises(UserError, match="serves no metrics of dist-erase"):
            poll(HEAD + b"\r\n" + other)
    two = b'dist_erase_step{run="a"} 1\ndist_erase_step{run="b"} 1\n'  # as a Pushgateway
    with pytest.raises(UserError, match=r"serves several runs \(a, b\)"):
        poll(HEAD + b"\r\n" + two)
