"""Deadline of work that cannot be told how long it may take."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tsode._deadline import Overdue, deadline

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer of the system here")


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def stubborn(caught: type[BaseException]) -> None:
    """Work that goes on once after what it catches."""
    try:
        work(30.0)
    except caught:
        work(30.0)


def test_work_that_lasts_is_stopped_and_no_except_exception_holds_it():
    started = time.monotonic()
    with pytest.raises(Overdue, match=r"more than 0.05 seconds"), deadline(0.05):
        stubborn(Exception)
    assert time.monotonic() - started < 10.0


def test_work_that_swallows_the_first_ring_is_stopped_by_a_later_one():
    started = time.monotonic()
    with pytest.raises(Overdue), deadline(0.05):
        stubborn(Overdue)
    assert time.monotonic() - started < 10.0


def test_work_in_time_leaves_no_alarm_behind():
    before = signal.getsignal(signal.SIGALRM)
    with deadline(0.2):
        work(0.01)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
    work(0.3)


def test_without_an_end_or_in_another_thread_nothing_is_raised():
    with deadline(float("inf")):
        work(0.05)
    raised = []

    def run() -> None:
        try:
            with deadline(0.02):
                work(0.1)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not raised
