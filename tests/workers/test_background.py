"""The threads beside the worker: they go on whatever happens, and end when told."""

from __future__ import annotations

import logging
import threading
import time
from itertools import pairwise

import pytest
from django.db import OperationalError

from django_jobqueue.queues.base import WorkerReport
from django_jobqueue.workers import background
from django_jobqueue.workers.background import Flusher, Heartbeat, Rhythm
from tests.waiting import wait_until


@pytest.fixture
def started():
    """Starts chores, and stops them at the end."""
    chores = []

    def start(chore):
        chores.append(chore)
        chore.start()
        return chore

    yield start
    for chore in chores:
        chore.stop()
        assert not chore.is_alive()


class Often(Heartbeat):
    """A heartbeat on a lease of milliseconds."""

    def __init__(self, beat):
        super().__init__(0.015, WorkerReport, lambda report: beat())


def test_three_heartbeats_fit_in_a_lease_and_none_is_later_than_ten_seconds():
    assert [Rhythm(lease).pause for lease in (30.0, 3.0, 3_600.0)] == [10.0, 1.0, 10.0]
    for lease in (30.0, 3.0, 3_600.0):  # it looks so often that it is not late for one
        assert Heartbeat(lease, WorkerReport, lambda report: None).interval <= Rhythm(lease).pause / 4


def test_news_are_told_at_once_and_the_rest_in_its_rhythm(started):
    said, now = [], WorkerReport()
    started(Heartbeat(3_600.0, lambda: now, said.append))
    for now in (WorkerReport(), WorkerReport(quiet=True), WorkerReport(), WorkerReport(stopping=True, quiet=True)):
        wait_until(lambda now=now: said and said[-1] is now, f"it is {now.state}")
    assert [report.state for report in said] == ["running", "quiet", "running", "stopping"]


def test_a_decision_never_waits_longer_than_the_flush_time():
    chore = Flusher(0.1, lambda overdue: None)
    assert chore.interval + chore._overdue == pytest.approx(0.1)


def test_it_goes_on(started):
    beats = []
    started(Often(lambda: beats.append(1)))
    wait_until(lambda: len(beats) >= 5)


@pytest.mark.parametrize("error", [OperationalError("gone"), ZeroDivisionError("ours")])
def test_an_error_does_not_end_it(started, error, caplog):
    beats = []

    def beat():
        beats.append(1)
        if len(beats) < 3:
            raise error

    with caplog.at_level(logging.WARNING):
        started(Often(beat))
        wait_until(lambda: len(beats) >= 5)
    assert len(caplog.records) == 2


def test_a_store_that_is_gone_is_not_asked_a_hundred_times_a_second(started, caplog):
    asked = []

    def flush(overdue):
        asked.append(time.monotonic())
        raise OperationalError("gone")

    started(Flusher(0.004, flush))
    wait_until(lambda: len(asked) >= 4)
    gaps = [after - before for before, after in pairwise(asked)]
    assert gaps[0] >= 0.09
    assert gaps[1] >= 0.19
    assert gaps[2] >= 0.39


def test_a_heartbeat_that_failed_is_tried_again_long_before_the_next_one():
    assert Rhythm(30.0).pause > 3 * background.LONGEST_PAUSE


def test_stop_waits_for_what_is_under_way(started):
    entered, leave, done = threading.Event(), threading.Event(), []

    def beat():
        entered.set()
        leave.wait(10)
        done.append(1)

    chore = started(Often(beat))
    entered.wait(10)
    threading.Timer(0.05, leave.set).start()
    chore.stop()
    assert done == [1]


def test_stop_before_start_is_no_error():
    Often(lambda: None).stop()
