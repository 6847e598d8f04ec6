"""A worker whose store is a server fetches the next batch while it runs the last one. Here the server is in memory."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import OperationalError

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import pace
from django_jobqueue.workers.worker import Limits, Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import record

pytestmark = pytest.mark.django_db(transaction=True)


class Server(MemoryQueue):
    """Takes its time to answer, as servers do. `before` is called first and may raise, `after` with the answer."""

    answers_while_we_work = True
    seconds = 0.001

    def __init__(self):
        super().__init__()
        self.threads = set()
        self.before = self.after = lambda *_: None

    def exchange(self, settlements, queues, limit, worker):
        self.before(limit)
        time.sleep(self.seconds)
        exchange = super().exchange(settlements, queues, limit, worker)
        if limit:
            self.threads.add(threading.current_thread().name.rpartition("_")[0])
        self.after(limit)
        return exchange


@pytest.fixture(autouse=True)
def _set_up(clean_slate, monkeypatch):
    monkeypatch.setattr(pace, "_WORTH", 4)


@pytest.fixture
def queue():
    return Server()


def push(queue, *names, **options):
    return queue.push(*(JobPayload.create(record, (name,), **options) for name in names))


def is_ahead():
    return threading.current_thread() is not threading.main_thread()


def numbers(count):
    return [f"{n:04}" for n in range(count)]


def drain(queue):
    worker = Worker(queue, (), Limits(drain=True))
    worker.run()
    return worker


def test_it_does_and_everything_runs_once_in_order(queue):
    push(queue, *numbers(2_000))
    worker = drain(queue)
    assert "jobqueue-fetch" in queue.threads
    assert jobs.ran == numbers(2_000)
    assert worker.counters.completed == 2_000
    assert worker.counters.lost == 0
    assert {one.attempt for one in queue.history} == {1}
    assert queue.size() == 0


@pytest.mark.parametrize("reason", ["an embedded store", "a limit", "slow jobs"])
def test_it_does_not_for(queue, reason, settings):
    if reason == "an embedded store":
        queue.answers_while_we_work = False
    if reason == "slow jobs":
        settings.JOBQUEUE = {"PREFETCH_SECONDS": 1e-9}
    push(queue, *numbers(100))
    Worker(queue, (), Limits(drain=True, max_jobs=90 if reason == "a limit" else None)).run()
    assert "jobqueue-fetch" not in queue.threads


def test_drain_sees_what_the_last_batch_has_pushed(queue):
    push(queue, *numbers(300))
    jobs.hooks["0299"] = lambda: push(queue, "one more")
    drain(queue)
    assert jobs.ran[-1] == "one more"


def test_what_was_fetched_ahead_is_given_back_when_the_worker_stops(queue):
    push(queue, *numbers(1_000))
    worker = Worker(queue)
    jobs.hooks["0300"] = worker.stop
    worker.run()
    assert jobs.ran == numbers(301)
    rest = [job for job in queue.jobs.values() if job.room is Room.READY]
    assert len(rest) == 699
    assert {(job.attempt, job.crashes) for job in rest} == {(0, 0)}
    assert not [job for job in queue.jobs.values() if job.room is Room.LEASED]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("jobqueue-fetch")]


def test_what_was_fetched_ahead_is_given_back_behind_a_slow_job(queue):
    push(queue, *numbers(1_000))

    def slow():
        wait_until(lambda: all(job.room is Room.READY for job in others()), "all but the slow job given back")

    def others():
        return [job for job in queue.jobs.values() if '"0400"' not in job.payload.args and job.room is not Room.DELAYED]

    jobs.hooks["0400"] = slow
    drain(queue)
    assert sorted(jobs.ran) == numbers(1_000)
    assert {one.attempt for one in queue.history} == {1}


def test_p5_a_suspect_is_not_fetched_ahead_but_alone(queue):
    me = WorkerIdentity()
    queue.join(me)
    push(queue, "suspect", priority=-50)
    queue.reserve(["default"], 1, me.id)
    queue.workers[me.id].alive = False
    queue.reclaim()
    push(queue, *numbers(500))
    held = []
    jobs.hooks["suspect"] = lambda: held.append([job.room for job in queue.jobs.values()])
    drain(queue)
    assert jobs.ran == [*numbers(500), "suspect"]
    assert held == [[Room.LEASED]], "nothing else was in hand, and what ran before was settled"


def test_p5_a_job_with_a_crash_budget_of_its_own_is_in_hand_only_while_it_runs(queue):
    """Or it would be dead, by `on_crash="dead"`, for what a job has done that it was fetched with.

    But for the moment in which what was fetched ahead is looked through: it is given back while a job before it runs.
    """
    push(queue, *numbers(70))
    (careful,) = push(queue, "careful", crash_budget=1)
    push(queue, "z")
    seen = {}
    for name in numbers(70):
        jobs.hooks[name] = lambda: wait_until(lambda: queue.jobs[careful].room is Room.READY)
    jobs.hooks["careful"] = lambda: seen.update(careful=queue.jobs[careful].room)
    jobs.hooks["z"] = lambda: seen.update(z=careful in queue.jobs)
    drain(queue)
    assert jobs.ran == [*numbers(70), "careful", "z"]
    assert seen == {"careful": Room.LEASED, "z": False}
    assert queue.history[-1].attempt == 1


def test_a_fetch_ahead_whose_answer_was_lost_loses_nothing_and_runs_nothing_twice(queue):
    push(queue, *numbers(1_000))
    broken = []

    def lose_one_answer(limit):
        if is_ahead() and limit and not broken:
            broken.append(limit)
            raise OperationalError("the answer was lost")

    queue.after = lose_one_answer
    worker = drain(queue)
    assert broken
    assert sorted(jobs.ran) == numbers(1_000)
    assert worker.counters.completed + worker.counters.lost == 1_000
    assert queue.size() == 0
    assert {one.crashes for one in queue.jobs.values()} <= {0}


def test_a_fetch_ahead_that_is_refused_is_tried_again(queue):
    push(queue, *numbers(1_000))
    broken = []

    def refuse_one(limit):
        if is_ahead() and limit and not broken:
            broken.append(limit)
            raise OperationalError("down")

    queue.before = refuse_one
    drain(queue)
    assert broken
    assert sorted(jobs.ran) == numbers(1_000)


def test_a_worker_declared_dead_meanwhile_runs_nothing_it_fetched_under_its_old_name(queue):
    push(queue, *numbers(400))
    worker = Worker(queue, (), Limits(drain=True))

    def declare_dead():
        queue.workers[worker.identity.id].alive = False
        queue.reclaim()
        worker._beat()

    jobs.hooks["0200"] = declare_dead
    worker.run()
    assert queue.size() == 0
    # 0200 ran and its settlement was refused, so it runs again: at least once. Nothing that had not begun ran twice.
    assert {name for name in jobs.ran if jobs.ran.count(name) > 1} <= set(numbers(201))


def test_p6_a_batch_fetched_ahead_does_not_run_before_what_was_given_back(queue):
    """The first job of a batch is slow, so the others go back; what was fetched meanwhile is behind them."""
    queue.seconds = 0.02
    push(queue, *numbers(600))
    slow = threading.Event()

    def hold():
        slow.wait(0.4)  # longer than the flusher waits before it gives back

    jobs.hooks["0300"] = hold
    drain(queue)
    assert jobs.ran == numbers(600)
