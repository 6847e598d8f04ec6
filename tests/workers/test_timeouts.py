"""A job that has run for its timeout hears of it, wherever it runs, and nobody else does."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from django_jobqueue import JobTimeout, NoRetry, task
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle import outcomes
from django_jobqueue.queues.base import Move, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.worker import Limits, Worker
from tests.workers import jobs
from tests.workers.jobs import LONG, nap, push, record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


@pytest.fixture(params=["main thread", "other thread"])
def run(request):
    """Runs a worker to its end: where signals are heard, and where they are not (as below the autoreloader)."""

    def run_one(worker):
        if request.param == "main thread":
            worker.run()
            return
        thread = threading.Thread(target=worker.run)
        thread.start()
        thread.join()

    return run_one


def drain(queue, run=Worker.run, **options):
    worker = Worker(queue, (), Limits(drain=True), **options)
    run(worker)
    return worker


def spin():
    while True:
        pass


@task(retry=NoRetry(), timeout=0.05)
async def sleep_async(name: str) -> None:
    jobs.ran.append(name)
    try:
        await asyncio.sleep(LONG)
    finally:
        jobs.ran.append(f"{name} cleaned up")


@task(takes_context=True)
def how_long(context) -> float | None:
    jobs.ran.append(context.time_left)
    return context.time_left


# it is raised


@pytest.mark.parametrize("work", [spin, nap])
def test_a_job_is_told_that_its_time_is_up_and_the_next_one_runs(run, work):
    queue = MemoryQueue()
    jobs.hooks["slow"] = work
    push(queue, "slow", timeout=0.05, max_attempts=1)
    push(queue, "next", timeout=LONG)
    began = time.monotonic()
    worker = drain(queue, run)
    assert 0.05 <= time.monotonic() - began < 20
    assert jobs.ran == ["slow", "next"]
    assert (worker.counters.completed, worker.counters.by_move[Move.DEAD]) == (1, 1)
    letter = next(iter(queue.dead_letters.values()))
    assert letter.reason == "expired"
    assert letter.error_class == "django_jobqueue.exceptions.JobTimeout"
    assert letter.error_message == "it ran longer than its timeout of 0.05 s"
    assert f", in {work.__name__}\n" in letter.traceback
    assert "alarm" not in letter.traceback


def test_a_call_that_waits_in_c_is_ended_too():
    """In the main thread, where a signal ends it."""
    queue = MemoryQueue()
    jobs.hooks["slow"] = lambda: time.sleep(LONG)
    push(queue, "slow", timeout=0.05, max_attempts=1)
    began = time.monotonic()
    drain(queue)
    assert time.monotonic() - began < LONG / 2
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


def test_a_coroutine_is_cancelled_and_may_clean_up(run):
    queue = MemoryQueue()
    push(queue, "a", task=sleep_async, max_attempts=1)
    push(queue, "next")
    drain(queue, run)
    assert jobs.ran == ["a", "a cleaned up", "next"]
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


def test_the_timeout_of_the_task_holds_for_jobs_that_were_stored_without_one():
    queue = MemoryQueue()
    slow = task(retry=NoRetry(), timeout=0.05, name="slow")(record.func)
    jobs.hooks["slow"] = nap
    queue.push(JobPayload.create(slow, ["slow"], timeout=None, max_attempts=1))
    assert [one.payload.timeout for one in queue.jobs.values()] == [None]
    drain(queue)
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


def test_it_is_a_failure_like_any_other_while_attempts_are_left():
    queue = MemoryQueue()
    jobs.hooks["slow"] = nap
    push(queue, "slow", timeout=0.02, max_attempts=2)
    worker = drain(queue)
    assert worker.counters.by_move[Move.RETRY] == 1
    assert [one.attempt for one in queue.jobs.values()] == [1]


def test_neither_the_job_nor_a_library_takes_it_for_an_error_of_theirs(run):
    queue = MemoryQueue()

    def stubborn():
        while True:
            try:
                nap()
            except Exception:
                pass

    jobs.hooks["a"] = stubborn
    push(queue, "a", timeout=0.02, max_attempts=1)
    drain(queue, run)
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


def test_a_job_that_swallows_it_hears_it_again(run, settings):
    settings.JOBQUEUE = {"KILL_AFTER": 0.05}
    queue, heard = MemoryQueue(), []

    def deaf():
        while len(heard) < 3:
            try:
                nap()
            except JobTimeout:
                heard.append(1)

    jobs.hooks["a"] = deaf
    push(queue, "a", timeout=0.02)
    worker = drain(queue, run)
    assert len(heard) == 3
    assert worker.counters.completed == 1, "it has done its work, late"


def test_a_job_that_ends_in_time_leaves_nothing_behind(run):
    queue = MemoryQueue()
    for n in range(200):
        push(queue, str(n), timeout=1.0)
    jobs.hooks["last"] = lambda: [time.sleep(0.01) for _ in range(110)]
    push(queue, "last")
    worker = drain(queue, run)
    assert worker.counters.completed == 201
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_connections_of_a_job_that_was_interrupted_are_not_used_again(monkeypatch):
    from django.db import connection

    queue, raw = MemoryQueue(), []

    def query():
        connection.ensure_connection()
        raw.append(connection.connection)
        nap()

    jobs.hooks["slow"] = query
    jobs.hooks["next"] = lambda: raw.append(connection.connection)
    push(queue, "slow", timeout=0.02, max_attempts=1)
    push(queue, "next")
    drain(queue)
    assert raw[0] is not None
    assert raw[1] is None


def test_expired_is_said_of_a_job_that_is_dead_of_it_and_of_no_other():
    queue = MemoryQueue()
    push(queue, "a", max_attempts=1)
    worker = Worker(queue)
    queue.join(worker.identity)
    job = queue.pop((), worker.identity.id)
    assert outcomes.failed(job, JobTimeout(), None, outcomes.Timing()).reason == "expired"
    assert outcomes.failed(job, TimeoutError(), None, outcomes.Timing()).reason == "exhausted"


def test_a_killed_job_is_told_the_timeout_that_it_had_from_its_queue(settings):
    """The heart settles for it, and has nothing but the reservation."""
    settings.JOBQUEUE = {"QUEUES": {"slow": {"timeout": 7}}, "TIMEOUT": 9, "KILL_AFTER": 1}
    queue = MemoryQueue()
    worker = WorkerIdentity()
    queue.join(worker)
    for name in ("slow", "other"):
        queue.push(JobPayload.create(record, ("x",), queue=name))
        settlement = Executor(queue, worker.id).expired(queue.pop((), worker.id))
        seconds = {"slow": 7, "other": 9}[name]
        assert f"longer than its timeout of {seconds} s" in settlement.error.message
        assert settlement.run_ms == (seconds + 1) * 1_000


# how much time is left


def test_a_job_can_ask_how_much_time_is_left():
    queue = MemoryQueue()
    queue.push(JobPayload.create(how_long, (), timeout=3_600.0), JobPayload.create(how_long))
    drain(queue)
    assert 3_500 < jobs.ran[0] <= 3_600
    assert jobs.ran[1] is None
