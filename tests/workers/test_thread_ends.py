"""How a worker with threads ends: what runs may finish until the grace is over, and the rest is given back."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from django.db import OperationalError

from django_jobqueue import NoRetry, task
from django_jobqueue.queues.base import Move
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import threads
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import LONG, nap, push
from tests.workers.stopping import end_when, run_to_the_signal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


def test_a_stopping_worker_lets_what_runs_finish_and_gives_back_the_rest():
    queue, gate = MemoryQueue(), threading.Event()
    jobs.hooks.update({str(n): lambda: gate.wait(20) for n in range(10)})
    push(queue, *(str(n) for n in range(10)))
    worker = Worker(queue, slots=Slots(threads=3))
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: len(jobs.ran) == 3)
    worker.stop()
    gate.set()
    thread.join(20)
    assert not thread.is_alive()
    assert worker.counters.completed == 3
    assert sorted(job.room.value for job in list(queue.jobs.values())) == ["ready"] * 7
    assert {job.attempt for job in list(queue.jobs.values())} == {0}


@pytest.mark.parametrize("work", [nap, lambda: asyncio.run(asyncio.sleep(LONG))], ids=["sync", "own loop"])
def test_the_end_of_the_grace_interrupts_all_that_runs(settings, work):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.1}
    queue = MemoryQueue()
    jobs.hooks.update(dict.fromkeys("abc", work))
    push(queue, *"abc")
    end_when(lambda: len(jobs.ran) == 3)
    run_to_the_signal(queue, Slots(threads=3))
    assert sorted(job.room.value for job in list(queue.jobs.values())) == ["ready"] * 3
    assert {job.attempt for job in list(queue.jobs.values())} == {0}


@task(retry=NoRetry())
async def cleans_up_badly(name: str) -> None:
    jobs.ran.append(name)
    try:
        await asyncio.sleep(LONG)
    finally:
        raise ValueError(name)


def test_a_coroutine_whose_cleaning_up_fails_at_the_end_of_the_grace_spends_no_attempt(settings):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue = MemoryQueue()
    (job_id,) = push(queue, "a", task=cleans_up_badly)
    end_when(lambda: jobs.ran)
    run_to_the_signal(queue, Slots(threads=2))
    assert (queue.jobs[job_id].room.value, queue.jobs[job_id].attempt) == ("ready", 0)


def test_a_job_that_cannot_be_interrupted_does_not_keep_the_process(settings, monkeypatch):
    monkeypatch.setattr(threads, "ABANDON_SECONDS", 0.2)
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue, gate = MemoryQueue(), threading.Event()
    lock = threading.Lock()
    lock.acquire()
    jobs.hooks["deaf"] = lambda: lock.acquire(timeout=20)
    push(queue, "deaf")
    end_when(lambda: jobs.ran)
    began = time.monotonic()
    run_to_the_signal(queue, Slots(threads=2))
    assert time.monotonic() - began < 15
    assert [job.room.value for job in list(queue.jobs.values())] == ["ready"]
    gate.set()
    lock.release()


# when the store fails


def test_a_claim_whose_answer_was_lost_does_not_give_back_what_runs():
    """Starting anew gives back everything the old name holds: first what runs must end."""
    failures = []

    class Losing(MemoryQueue):
        def exchange(self, settlements, queues, limit, worker):
            exchange = super().exchange(settlements, queues, limit, worker)
            if "slow" in jobs.ran and not settlements and not failures and limit:
                failures.append(1)
                raise OperationalError("the answer was lost")
            return exchange

    queue = Losing()
    jobs.hooks["slow"] = lambda: (wait_until(lambda: failures), time.sleep(0.4))
    push(queue, "slow")
    worker = Worker(queue, slots=Slots(threads=2))
    name = worker.identity.id
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: worker.identity.id != name, "the worker starts anew")
    worker.stop()
    thread.join(20)
    assert jobs.ran == ["slow"]
    assert worker.counters.by_move[Move.COMPLETED] == 1
    assert worker.counters.lost == 0
