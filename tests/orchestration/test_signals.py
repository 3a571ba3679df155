"""SIGTERM is noted while a loop is at work, and ends everything else at once."""

import os
import signal
import threading
import time

import pytest
import ray

from dist_erase.errors import InterruptedRunError, StopAsked
from dist_erase.orchestration import signals
from dist_erase.orchestration.ray_job import _answer
from dist_erase.orchestration.signals import SIGTERM, Sigterm


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_nothing_is_asked_without_a_signal():
    with Sigterm("go on") as sigterm, sigterm.training():
        assert sigterm.asked() is None


def test_before_the_first_step_it_ends_the_process():
    with (
        pytest.raises(InterruptedRunError, match=r"^stopped by SIGTERM; go on"),
        Sigterm("go on") as sigterm,
        sigterm.training(),
    ):
        terminate()


def loop(sigterm, signals=1):
    """Trains for a step, meets signals, and stops as the training loop does."""
    assert sigterm.asked() is None
    for _ in range(signals):
        terminate()
    asked = sigterm.asked()
    assert asked == SIGTERM
    raise InterruptedRunError(7, asked)


@pytest.mark.parametrize("times", [1, 2])  # a launcher passes on what its ranks got too
def test_a_loop_at_work_learns_of_it_and_says_how_to_go_on(times):
    with Sigterm("go on") as sigterm:
        with pytest.raises(InterruptedRunError) as raised, sigterm.training():
            loop(sigterm, times)
        assert str(raised.value) == "stopped at step 7 by SIGTERM; go on"
        terminate()  # the launcher's once more


def test_a_second_one_does_not_wait_for_the_step(monkeypatch):
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)
    with Sigterm("go on") as sigterm, sigterm.training():
        sigterm.asked()
        terminate()
        with pytest.raises(InterruptedRunError, match="a second SIGTERM"):
            terminate()
        sigterm._first = None  # else leaving the block would raise again


def train(sigterm, note=None):
    with sigterm.training(note):
        if note is None:
            assert sigterm.asked() is None
        terminate()


def test_one_that_comes_after_the_last_step_is_not_lost():
    with Sigterm("go on") as sigterm, pytest.raises(InterruptedRunError):
        train(sigterm)


def test_a_driver_hands_it_on():
    handed = []
    with Sigterm("go on") as sigterm, pytest.raises(InterruptedRunError):
        train(sigterm, lambda: handed.append("stop"))
    assert handed == ["stop"]


def test_a_last_scrape_is_not_waited_for():
    other = InterruptedRunError(3, StopAsked("drain", "a drain"))
    with Sigterm("go on") as sigterm:
        with pytest.raises(InterruptedRunError), sigterm.training():
            raise other
        with pytest.raises(InterruptedRunError) as raised:
            terminate()
    assert raised.value is other


def test_a_run_that_went_on_after_a_drain_does_not_name_it_any_more():
    with Sigterm("go on") as sigterm:
        with pytest.raises(InterruptedRunError), sigterm.training():
            raise InterruptedRunError(3, StopAsked("drain", "a drain"))
        with sigterm.training():
            pass
        with pytest.raises(InterruptedRunError, match="by SIGTERM; go on"):
            terminate()


@pytest.fixture
def sleeping(ray_cluster):
    """The answer of a task that takes far longer than a test."""

    @ray.remote(num_cpus=0)
    def sleep() -> None:
        time.sleep(300)

    answer = sleep.remote()
    yield answer
    ray.cancel(answer, force=True)


@pytest.fixture
def later():
    """SIGTERM after so many seconds, while this thread sits in a call of Ray."""
    started = []

    def at(seconds: float) -> None:
        started.append(threading.Timer(seconds, terminate))
        started[-1].start()

    yield at
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a late one would end all tests
    for timer in started:
        timer.join()
    signal.signal(signal.SIGTERM, before)


def test_a_measurement_on_ray_ends_within_seconds(sleeping, later):
    began = time.monotonic()
    with Sigterm("go on") as sigterm:
        later(1.0)
        with pytest.raises(InterruptedRunError, match="by SIGTERM; go on"):
            _answer(sleeping, sigterm)
    assert time.monotonic() - began < 10


def test_one_that_meets_a_call_of_ray_ends_the_run(sleeping, later):
    later(0.5)
    with pytest.raises(InterruptedRunError, match="by SIGTERM"), Sigterm("go on"):
        ray.wait([sleeping], timeout=3)


def wait_for(answer, sigterm):
    with sigterm.training(lambda: None):
        ray.get(answer, timeout=30)


def terminate_twice(sigterm):
    time.sleep(0.5)
    terminate()
    while sigterm._first is None:  # Ray lets Python look for signals once a second
        time.sleep(0.05)
    terminate()


def test_a_second_one_gets_through_ray(sleeping, monkeypatch):
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)
    with Sigterm("go on") as sigterm:
        threading.Thread(target=terminate_twice, args=(sigterm,), daemon=True).start()
        with pytest.raises(InterruptedRunError, match="by a second SIGTERM, without"):
            wait_for(sleeping, sigterm)


def test_ctrl_c_stays_ctrl_c():
    with Sigterm("go on") as sigterm:  # noqa: SIM117
        with pytest.raises(KeyboardInterrupt), sigterm.training(lambda: None):
            raise KeyboardInterrupt


def test_what_was_there_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with Sigterm("go on"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
