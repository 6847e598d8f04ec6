"""P8 where the job runs: it is told, it is stopped by force, and what was fetched with it is not started."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from django.db import connections

from django_jobqueue import JobCancelled, JobPayload, NoRetry, cancel, get_queue, task
from django_jobqueue.compat import TaskResultStatus, task_finished
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move
from django_jobqueue.workers import stops
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.stops import Running, Stops
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.worker import Limits, Worker
from tests.queues.hooks import claim_one, joined, wait_for

STARTED = threading.Event()
SEEN = []


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(stops, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(stops.Lookout, "first_pause", 0.05)
    STARTED.clear()
    SEEN.clear()


def until_stopped(context, seconds=20):
    STARTED.set()
    wait_for(lambda: context.is_cancelled, seconds)


@task(takes_context=True)
def polite(context):
    until_stopped(context)
    SEEN.append("stopped")
    raise JobCancelled("as asked")


@task(takes_context=True, retry=NoRetry())
def rude(context):
    """Stops, but says so with an error of its own."""
    until_stopped(context)
    raise ValueError("I was told to stop")


@task(takes_context=True)
def finishes(context):
    until_stopped(context)
    return "done all the same"


@task
def deaf():
    STARTED.set()
    try:
        for _ in range(2_000):
            time.sleep(0.01)
    except JobCancelled:
        SEEN.append("killed")
        raise


@task
async def deaf_coroutine():
    STARTED.set()
    await asyncio.sleep(20)


@task
def quick(name):
    SEEN.append(name)


HERE = pytest.param({}, id="inline")
THREADS = pytest.param({"slots": Slots(threads=2)}, id="threads")
pytestmark = pytest.mark.django_db(transaction=True)


def work(**options):
    """A worker in this thread, until nothing is left; somebody else acts when the job has started."""
    worker = Worker(get_queue(), (), Limits(drain=True), **options)
    worker.run()
    return worker


def meanwhile(act):
    def run():
        try:
            assert STARTED.wait(20)
            SEEN.append(act())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("options", [HERE, THREADS])
@pytest.mark.parametrize(
    ("job", "kill", "error"),
    [
        (polite, False, "django_jobqueue.exceptions.JobCancelled"),
        (rude, False, "builtins.ValueError"),
        (deaf, True, "django_jobqueue.exceptions.JobCancelled"),
        (deaf_coroutine, True, "django_jobqueue.exceptions.JobCancelled"),
    ],
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", None),
)
def test_p8_a_running_job_stops_and_is_cancelled(options, job, kill, error):
    told = []
    result = job.enqueue()
    task_finished.connect(lambda task_result, **_: told.append(task_result.status), weak=False, dispatch_uid=7)
    thread = meanwhile(lambda: cancel(result, kill=kill))
    try:
        worker = work(**options)
    finally:
        thread.join()
        task_finished.disconnect(dispatch_uid=7)
    record = JobHistory.objects.get()
    assert (record.outcome, record.error_class, str(record.job_id)) == ("cancelled", error, result.id)
    assert not DeadLetterJob.objects.exists()
    assert told == [TaskResultStatus.FAILED]
    assert worker.counters.by_move[Move.CANCELLED] == 1


def test_p8_a_job_that_completes_all_the_same_has_completed():
    result = finishes.enqueue()
    thread = meanwhile(lambda: cancel(result))
    work()
    thread.join()
    assert JobHistory.objects.get().outcome == "completed"
    result.refresh()
    assert result.return_value == "done all the same"


def test_p8_what_was_fetched_with_it_and_asked_to_stop_is_not_started():
    """The lookout finds a job that doesn't run here yet, and gives it back: the store ends it there."""
    first = polite.enqueue()
    second = quick.enqueue("second")
    third = quick.enqueue("third")

    def act():
        assert wait_for(lambda: cancel(second))
        wait_for(lambda: JobHistory.objects.filter(job_id=second.id).exists())
        return cancel(first)

    thread = meanwhile(act)
    work()
    thread.join()
    outcomes = dict(JobHistory.objects.values_list("job_id", "outcome"))
    assert {str(job_id): one for job_id, one in outcomes.items()} == {
        first.id: "cancelled",
        second.id: "cancelled",
        third.id: "completed",
    }
    assert "second" not in SEEN


def test_a_job_hears_that_it_is_not_its_workers_any_more():
    result = finishes.enqueue()
    workers = []

    def act():
        lost = get_queue().declare_dead(workers[0].identity.id)
        workers[0]._beat()  # as it does a few times per lease
        return lost

    thread = meanwhile(act)
    workers.append(Worker(get_queue(), (), Limits(drain=True)))
    workers[0].run()
    thread.join()
    assert workers[0].counters.lost == 1, "the fence kept its late decision out"
    result.refresh()
    assert JobHistory.objects.order_by("lease_no").first().outcome == "lost"


def test_short_jobs_cost_the_store_nothing(monkeypatch):
    monkeypatch.setattr(stops, "LOOK_SECONDS", 60.0)
    held = Stops()
    queue = get_queue()
    queue.push(JobPayload.create(quick, ("x",)))
    job = claim_one(queue, joined(queue))
    assert not held.is_worth_a_look()
    running = Running(job, None, None)
    held.begin(running)
    assert not held.is_worth_a_look()
    running.begun -= 61.0
    assert held.is_worth_a_look()
    held.end(running)
    assert not held.is_worth_a_look()


def test_a_kill_that_comes_too_late_hits_nobody():
    """The job has ended, and another runs behind the same window: nothing may ring there."""

    class Clock(dict):
        def at(self, name, moment, action):
            self[name] = action

        def cancel(self, name):
            self.pop(name, None)

    class Window:
        is_open = True
        hit = None

        def interrupt(self, cause):
            self.hit = cause

    queue, held, clock, window, published = get_queue(), Stops(), Clock(), Window(), []
    timeouts = Timeouts(clock, published.append)
    queue.push(JobPayload.create(quick, ("x",)))
    job = claim_one(queue, joined(queue))
    running = Running(job, window, timeouts)
    held.begin(running)
    assert not held.hear({job.job_id: True})
    assert [bool(one) for one in published] == [True]
    (rings,) = clock.values()
    held.end(running)
    assert published[-1] is None
    rings()
    assert window.hit is None
    assert held.hear({job.job_id: True}), "it does not run here"
    assert clock == {}
