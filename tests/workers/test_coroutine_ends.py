"""How async jobs are ended: by their timeout, by a request, by each other, and by the end of the grace."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest
from asgiref.sync import sync_to_async

from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import stops, threads
from django_jobqueue.workers.shutdown import StopSignals
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.coroutines import LONG, Party, act, act_in_time, at_work, drain, errors, push, reasons
from tests.workers.jobs import record
from tests.workers.stopping import end_when, run_to_the_signal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate", "unheard")]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(stops, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(stops.Lookout, "first_pause", 0.05)


@pytest.mark.parametrize("by", ["timeout", "request"])
def test_a_job_ends_when_its_sync_part_does_and_is_watched_so_long(impatient, by):
    queue, gate, ends, published = MemoryQueue(), threading.Event(), [], []

    def sync_part():
        gate.wait(LONG)
        ends.append("sync part")

    async def wait_for_it():
        try:
            await sync_to_async(sync_part)()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    jobs.hooks["a"] = wait_for_it
    (job_id,) = push(queue, "a", task=act_in_time if by == "timeout" else act)
    with at_work(queue, watch=published.append):
        wait_until(lambda: jobs.ran)
        if by == "request":
            queue.request_cancel(job_id, kill=True)
        wait_until(lambda: ends)
        time.sleep(0.05)
        assert queue.jobs[job_id].room.value == "leased"
        assert published[-1].job_id == job_id
        gate.set()
    assert ends == ["cancelled", "sync part"]
    assert published[-1] is None
    assert queue.history[-1].outcome == ("failed" if by == "timeout" else "cancelled")
    assert reasons(queue) == ({"a": "expired"} if by == "timeout" else {})


def test_a_job_that_waits_is_cancelled_at_its_timeout_and_the_others_go_on():
    queue, party = MemoryQueue(), Party(2)
    jobs.hooks.update(slow=lambda: asyncio.sleep(LONG), a=party, b=party)
    push(queue, "slow", task=act_in_time)
    push(queue, "a", "b")
    push(queue, "sync", task=record)
    assert drain(queue).completed == 3
    assert reasons(queue) == {"slow": "expired"}


def test_a_job_that_swallows_its_cancellation_completes():
    queue = MemoryQueue()

    async def swallow():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            return "all the same"

    jobs.hooks["a"] = swallow
    push(queue, "a", task=act_in_time)
    assert drain(queue).completed == 1
    assert queue.history[-1].result == '"all the same"'


def test_a_job_that_another_cancels_fails():
    """Before its first line, where Python starts no task at once (3.11)."""
    queue = MemoryQueue()

    async def cancel_the_other():
        while not (others := asyncio.all_tasks() - {asyncio.current_task()}):
            await asyncio.sleep(0)
        others.pop().cancel()

    jobs.hooks.update(a=cancel_the_other, b=lambda: asyncio.sleep(LONG))
    push(queue, "a", "b")
    assert drain(queue, 2).completed == 1
    assert errors(queue) == {"b": "asyncio.exceptions.CancelledError"}


def test_the_dead_letter_shows_where_a_job_waited_when_its_time_was_up():
    queue = MemoryQueue()

    async def deep_inside():
        await asyncio.sleep(LONG)  # the line

    jobs.hooks["a"] = deep_inside
    push(queue, "a", task=act_in_time)
    drain(queue)
    (letter,) = queue.dead_letters.values()
    last = letter.traceback.rpartition("The above exception was the direct cause of")[2]
    assert letter.error_message == "it ran longer than its timeout of 0.05 s"
    assert "return await jobs.hooks[name]()" in last
    assert "await asyncio.sleep(LONG)  # the line" in last
    assert last.rstrip().endswith("django_jobqueue.exceptions.JobTimeout: it ran longer than its timeout of 0.05 s")


# the end of the grace


async def _clean_up_badly():
    try:
        await asyncio.sleep(LONG)
    finally:
        raise ValueError("while it was cleaning up")


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(LONG), _clean_up_badly], ids=["waits", "cleans up badly"])
def test_the_end_of_the_grace_interrupts_all_that_runs_and_spends_no_attempt(settings, wait):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue = MemoryQueue()
    jobs.hooks.update(dict.fromkeys("abc", wait))
    push(queue, *"abc")
    end_when(lambda: len(jobs.ran) == 3)
    run_to_the_signal(queue, Slots(threads=3, on_loop=True))
    assert [(job.room.value, job.attempt) for job in queue.jobs.values()] == [("ready", 0)] * 3


def test_the_end_of_the_grace_ends_what_held_the_loop_then_and_what_waited_behind_it(settings):
    """It comes when the window of neither is open."""
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue, ends = MemoryQueue(), []

    async def hold_the_loop():
        end_when(lambda: True)
        wait_until(lambda: queue.jobs and runner[0]._interrupted_at, "the end of the grace")
        try:
            await asyncio.sleep(LONG)
        finally:
            ends.append(time.monotonic() - runner[0]._interrupted_at)

    jobs.hooks.update(a=hold_the_loop, b=lambda: asyncio.sleep(LONG))
    push(queue, "a", "b")
    worker = Worker(queue, slots=Slots(threads=2, on_loop=True))
    runner = [worker._runner]
    with StopSignals() as signals:
        signals.run(worker)
    assert [(job.room.value, job.attempt) for job in queue.jobs.values()] == [("ready", 0)] * 2
    assert jobs.ran == ["a"] or sys.version_info < (3, 12)  # where both windows may be open by then
    assert ends[0] < 1.0  # not when it is told again


def test_a_sync_part_that_cannot_be_interrupted_does_not_keep_the_process(settings, monkeypatch):
    monkeypatch.setattr(threads, "ABANDON_SECONDS", 0.2)
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue, gate, begun = MemoryQueue(), threading.Event(), []

    def hang():
        begun.append(threading.current_thread())
        gate.wait(LONG)

    jobs.hooks["deaf"] = sync_to_async(hang)
    push(queue, "deaf")
    end_when(lambda: begun)
    began = time.monotonic()
    run_to_the_signal(queue, Slots(threads=2, on_loop=True))
    assert time.monotonic() - began < LONG / 4
    assert [job.room.value for job in queue.jobs.values()] == ["ready"]
    assert begun[0].daemon
    gate.set()
    begun[0].join(LONG)
