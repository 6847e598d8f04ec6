"""What once stopped a worker, or made it run what it should not have."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.management import call_command
from django.db import DataError, OperationalError, connections

from django_jobqueue.models import JobHistory, JobPriority, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import worker as worker_module
from django_jobqueue.workers.interruption import Interrupted, JobWindow
from django_jobqueue.workers.worker import Limits, Worker
from tests.api import tasks  # noqa: F401 (one of them has the queue `emails`)
from tests.workers import jobs
from tests.workers.jobs import push
from tests.workers.test_worker import Wrapped, rooms

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _set_up(clean_slate, monkeypatch):
    monkeypatch.setattr(worker_module, "OUTAGE_FIRST_PAUSE", 0.001)


def on(*values):
    """Parametrize (alias, value), each on its own database."""
    return pytest.mark.parametrize(
        ("alias", "value"),
        [
            pytest.param(alias, value, marks=pytest.mark.django_db(transaction=True, databases=[alias]))
            for alias, value in values
        ],
    )


def drain(queue, **limits):
    """Until nothing is left; stopped after a while if it gets stuck, so that the test can say so."""
    worker = Worker(queue, (), Limits(drain=True, **limits))
    watchdog = threading.Timer(20, worker.stop)
    watchdog.start()
    try:
        worker.run()
    finally:
        watchdog.cancel()
    return worker


def write(alias, sql, *values):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        assert cursor.rowcount == 1


def lose(queue, worker):
    """The store declares the worker dead and takes its jobs back, and the next heartbeat hears of it."""
    queue.workers[worker.identity.id].alive = False
    queue.reclaim()
    worker._beat()


# rows of garbage


@on(("default", "nonsense"), ("default", "2024-13-45 00:00:00"), ("postgres", "infinity"))
def test_a_job_with_an_unreadable_time_stops_neither_the_worker_nor_the_next_job(alias, value):
    queue = get_queue(alias)
    bad, _ = push(queue, "bad", "good")
    db_id = queue._dialect().to_id(bad)
    write(alias, "UPDATE jobqueue_jobs SET created_at = %s WHERE id = %s", value, db_id)
    assert drain(queue).counters.completed == 2
    assert jobs.ran == ["bad", "good"]


@on(("default", "2024-13-45 00:00:00"), ("postgres", "infinity"))
def test_an_unreadable_earlier_attempt_does_not_keep_a_job_from_running(alias, value):
    """It was given back and fetched again, as fast as the machine could."""
    queue = get_queue(alias)
    push(queue, "again", max_attempts=3)
    first = WorkerIdentity()
    queue.join(first)
    assert queue.settle([Settlement(queue.pop((), first.id), Move.RETRY, delay=0)]) == [True]
    write(alias, "UPDATE jobqueue_job_history SET finished_at = %s", value)
    push(queue, "next")
    assert drain(queue).counters.completed == 2
    assert sorted(jobs.ran) == ["again", "next"]
    assert JobHistory.objects.using(alias).count() == 3


@on(*((alias, field) for alias in ("default", "postgres", "mariadb") for field in ("attempt", "lease_no")))
def test_numbers_at_their_limit_neither_stop_a_worker_nor_multiply_it(alias, value):
    queue = get_queue(alias)
    bad, _ = push(queue, "bad", "good")
    limit = {"attempt": 32_767, "lease_no": 2_147_483_647}[value]
    JobPriority.objects.using(alias).filter(job_id=bad).update(**{value: limit})
    assert drain(queue).counters.completed == 2
    assert jobs.ran == ["bad", "good"]
    assert WorkerProcess.objects.using(alias).count() == 1


def test_a_claim_that_is_refused_is_no_reason_to_join_again():
    """Each refusal left a worker's row behind, several in a second."""
    refusals = [1, 2, 3]

    def refuse(settlements, limit):
        if limit and refusals:
            refusals.pop()
            raise DataError("smallint out of range")

    queue = Wrapped(on_exchange=refuse)
    push(queue, "a")
    drain(queue)
    assert jobs.ran == ["a"]
    assert len(queue.workers) == 1


# after death


def test_nothing_is_started_once_a_heartbeat_has_said_that_the_worker_is_dead():
    queue = MemoryQueue()
    worker = Worker(queue, (), Limits(drain=True))

    def die():
        jobs.hooks.clear()
        lose(queue, worker)

    jobs.hooks["b"] = die
    push(queue, *"abcde")
    worker.run()
    assert jobs.ran == list("abbcde"), "c to e were fetched with b, and are run by whoever has them now"
    assert worker.counters.lost == 4
    assert not queue.jobs


def test_what_was_fetched_before_death_is_not_started_under_the_new_name():
    deaths = []

    def die_before_the_batch_begins(settlements, limit):
        if limit == 0 and not deaths:  # what a suspect is fetched with goes back before it runs
            deaths.append(worker.identity.id)
            lose(queue, worker)
            raise OperationalError("the connection is gone")

    queue = Wrapped(on_exchange=die_before_the_batch_begins)
    worker = Worker(queue, (), Limits(drain=True))
    [suspect] = push(queue, "suspect")
    queue.jobs[suspect].crashes = 1
    worker.run()
    assert deaths
    assert worker.identity.id not in deaths
    assert jobs.ran == ["suspect"]
    assert worker.counters.lost == 1
    assert not queue.jobs


# the end


class Leaving(Wrapped):
    def __init__(self, **options):
        super().__init__(**options)
        self.left = []

    def leave(self, worker):
        self.left.append(worker)
        super().leave(worker)


def test_a_worker_that_could_not_store_what_it_did_does_not_give_it_back(settings):
    """Leaving gives leases back at once: jobs that had ended ran again, though the store was to be asked once more."""
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.01}

    def fail(settlements, limit):
        if settlements:
            raise OperationalError("the connection is gone")

    queue = Leaving(on_exchange=fail)
    push(queue, "a")
    drain(queue, max_jobs=1)
    assert jobs.ran == ["a"]
    assert queue.left == []
    assert rooms(queue) == ["leased"]


def test_the_last_settlements_are_tried_again_for_as_long_as_the_grace_lasts():
    failures = list(range(7))

    def fail(settlements, limit):
        if settlements and failures:
            failures.pop()
            raise OperationalError("the connection is gone")

    queue = Leaving(on_exchange=fail)
    push(queue, "a")
    worker = drain(queue, max_jobs=1)
    assert queue.left == [worker.identity.id]
    assert not queue.jobs


def test_an_interruption_on_the_way_out_of_a_job_leaves_the_window_shut(monkeypatch):
    """Open, it let the next interruption into the worker's own bookkeeping."""

    shut = JobWindow.shut

    def interrupted(self):
        monkeypatch.setattr(JobWindow, "shut", shut)
        raise Interrupted

    monkeypatch.setattr(JobWindow, "shut", interrupted)
    queue = MemoryQueue()
    push(queue, "a")
    worker = drain(queue, max_jobs=1)
    assert jobs.ran == ["a"]
    assert not worker.is_in_job
    assert rooms(queue) == ["ready"]


def test_a_job_that_must_not_run_twice_does_not_run_again_after_an_interruption():
    queue = MemoryQueue()
    push(queue, "a", crash_budget=1)
    push(queue, "b")

    def end() -> None:
        raise Interrupted

    jobs.hooks.update({"a": end, "b": end})
    drain(queue, max_jobs=2)
    assert jobs.ran == ["a", "b"]
    assert rooms(queue) == ["ready"]
    assert [letter.reason for letter in queue.dead_letters.values()] == ["worker_lost"]


# the command


def test_a_queue_that_nobody_uses_is_doubted_and_the_close_one_named():
    out, err = io.StringIO(), io.StringIO()
    call_command("queue_work", queues="emials,default", drain=True, stdout=out, stderr=err)
    assert "'emials'" in err.getvalue()
    assert "Did you mean 'emails'?" in err.getvalue()
    assert "'default'" not in err.getvalue()
    assert "nothing to do" in out.getvalue()
