"""The deadlines of what runs: the earliest is published, each run has its own, and what has ended is forgotten."""

from __future__ import annotations

import random
import time

import pytest

from django_jobqueue import JobTimeout
from django_jobqueue.exceptions import JobCancelled
from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers.alarm import Alarm, TimerThread
from django_jobqueue.workers.interruption import ThreadWindow
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.worker import Limits, Worker
from tests.workers.jobs import LONG, push

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


class Seen(list):
    """The deadlines that were published."""

    def __call__(self, deadline):
        self.append(deadline)


class Noted(dict):
    """A clock that only remembers."""

    def at(self, name, moment, action):
        self[name] = action.args[-1]

    def cancel(self, name):
        self.pop(name, None)


def drain(queue, run=Worker.run, **options):
    worker = Worker(queue, (), Limits(drain=True), **options)
    run(worker)
    return worker


def test_the_earliest_hard_deadline_is_published_and_taken_back(settings):
    settings.JOBQUEUE = {"KILL_AFTER": 7.0}
    queue, seen = MemoryQueue(), Seen()
    (limited,), _ = push(queue, "a", timeout=3.0), push(queue, "b")
    before = time.monotonic()
    drain(queue, watch=seen)
    assert [one and one.job_id for one in seen] == [limited, None]
    assert before + 10 <= seen[0].at <= time.monotonic() + 10
    assert seen[0].lease_no == 1


def test_a_job_without_a_timeout_costs_nothing(monkeypatch):
    calls = []
    monkeypatch.setattr(Alarm, "at", lambda *args: calls.append(args))
    queue, seen = MemoryQueue(), Seen()
    for n in range(10):
        push(queue, str(n))
    drain(queue, watch=seen)
    assert calls == seen == []


def test_two_runs_of_one_job_have_deadlines_of_their_own():
    """It was lost, and came here again while its first run went on."""
    seen, now = Seen(), time.monotonic()
    clock = TimerThread()
    timeouts, queue, worker = Timeouts(clock, seen), MemoryQueue(), WorkerIdentity()
    queue.join(worker)
    push(queue, "a")
    first = queue.pop((), worker.id)
    again = first._replace(lease_no=2)
    timeouts.begin(first, now + LONG, ThreadWindow())
    timeouts.begin(again, now + 2 * LONG, ThreadWindow())
    timeouts.end(first)
    assert (seen[-1].job_id, seen[-1].lease_no) == (again.job_id, 2)
    timeouts.end(again)
    clock.stop()
    assert seen[-1] is None


def test_the_earliest_of_many_is_published_and_those_that_have_ended_are_forgotten():
    """Jobs come and go while one goes on for long."""
    queue, worker, chance = MemoryQueue(), WorkerIdentity(), random.Random(7)
    queue.join(worker)
    push(queue, "a")
    job = queue.pop((), worker.id)
    clock, seen = Noted(), Seen()
    timeouts, alive, now = Timeouts(clock, seen), {}, time.monotonic()
    timeouts.begin(job, now + 1, ThreadWindow())
    for number in range(2, 3_000):
        alive[number] = now + chance.choice((0.5, 2, 3)) * LONG
        timeouts.begin(job._replace(lease_no=number), alive[number], ThreadWindow())
        if len(alive) > 5:
            ended = chance.choice(list(alive))
            del alive[ended]
            timeouts.end(job._replace(lease_no=ended))
        assert seen[-1].lease_no == 1
    assert len(timeouts._line) < 200
    timeouts.end(job)
    while alive:
        assert seen[-1].lease_no == min(alive, key=lambda number: (alive[number], number))
        ended = chance.choice(list(alive))
        del alive[ended]
        timeouts.end(job._replace(lease_no=ended))
    assert seen[-1] is None


def test_a_request_that_came_before_the_timeout_began_is_not_forgotten():
    """It is told once, and may be heard when the job is about to begin."""
    queue = MemoryQueue()
    worker = WorkerIdentity()
    queue.join(worker)
    push(queue, "x")
    job, clock, seen = queue.pop((), worker.id), Noted(), Seen()
    timeouts = Timeouts(clock, seen)
    timeouts.stop(job, ThreadWindow())
    timeouts.begin(job, time.monotonic() + LONG, ThreadWindow())
    run = job.job_id, job.lease_no
    assert clock == {run: JobCancelled}
    timeouts.end(job)
    timeouts.begin(job, time.monotonic() + LONG, ThreadWindow())
    assert clock == {run: JobTimeout}
    assert [deadline is None for deadline in seen] == [False, True, False]
