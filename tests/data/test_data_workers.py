"""Ordered work in several processes."""

import os
import signal
import time

import pytest

from dist_erase.data.workers import ordered_map
from dist_erase.errors import UserError


def slow_square(number: int) -> int:
    time.sleep(0.05 if number % 2 == 0 else 0)
    return number * number


def refuse(number: int) -> int:
    if number == 3:
        raise UserError("number", "is 3.", "Use another.")
    return number


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def ends_like_its_tasks(number: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_answers_come_in_the_order_of_the_tasks(workers):
    answers = ordered_map(slow_square, iter(range(12)), workers=workers)
    assert list(answers) == [number * number for number in range(12)]


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for number in range(1000):
            taken.append(number)
            yield number

    answers = ordered_map(slow_square, tasks(), workers=1)
    assert next(answers) == 0
    assert len(taken) < 10
    answers.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_error_arrives_whole(workers):
    answers = ordered_map(refuse, range(6), workers=workers)
    with pytest.raises(UserError, match=r"number: is 3\. Use another\."):
        list(answers)


def test_a_killed_worker_is_a_message():
    with pytest.raises(UserError, match="--workers: one of 2 worker processes was killed"):
        list(ordered_map(die, range(6), workers=2))


def test_work_happens_elsewhere_unless_asked_not_to():
    assert set(ordered_map(ends_like_its_tasks, range(3), workers=0)) == {os.getpid()}
    assert os.getpid() not in set(ordered_map(ends_like_its_tasks, range(3), workers=2))
