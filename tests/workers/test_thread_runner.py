"""What a worker's threads do by themselves: they take the next job in hand, and call the worker when little is left."""

from __future__ import annotations

import threading

import pytest

from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import threads
from django_jobqueue.workers.board import unwatched
from django_jobqueue.workers.outbox import Outbox
from django_jobqueue.workers.pace import Pace
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import LONG, push

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


@pytest.fixture
def one_thread():
    """A runner with one thread, what it holds, and the jobs a, b and c in its worker's hands."""
    queue, outbox, worker = MemoryQueue(), Outbox(), WorkerIdentity()
    runner = threads.Threads(queue, outbox, Pace(1.0, 64, 16), unwatched, lambda why: None, 1)
    runner._pace.ran(1, 0.0)
    queue.join(worker)
    push(queue, "a", "b", "c")
    held = [queue.pop((), worker.id) for _ in range(3)]
    with runner:
        yield runner, outbox, worker.id, held
        runner.end()


def test_a_thread_takes_its_next_job_itself(one_thread):
    runner, outbox, worker, held = one_thread
    outbox.receive(held)
    runner.run(outbox.start_next, worker)  # and never again
    wait_until(lambda: len(jobs.ran) == 3)
    wait_until(lambda: runner.room == 1)
    assert jobs.ran == ["a", "b", "c"]


def test_a_thread_takes_none_that_must_run_alone(one_thread):
    runner, outbox, worker, held = one_thread
    outbox.receive([held[0], held[1]._replace(crashes=1), held[2]])
    runner.run(outbox.start_next, worker)
    wait_until(lambda: runner.room == 1)
    assert (jobs.ran, outbox.unstarted) == (["a"], 2)
    runner.run(outbox.start_next, worker)  # the worker's thread may: it sees to it that nothing else runs
    wait_until(lambda: len(jobs.ran) == 3)


def test_the_worker_is_called_when_half_a_batch_is_left(one_thread):
    runner, outbox, worker, held = one_thread
    doors = {name: threading.Event() for name in "ab"}
    for name, door in doors.items():
        jobs.hooks[name] = lambda door=door: door.wait(LONG)
    outbox.receive(held)
    runner.run(outbox.start_next, worker)
    calls = threading.Thread(target=runner.wait_for_room, args=(lambda: False,))
    calls.start()
    doors["a"].set()
    calls.join(LONG)
    assert (calls.is_alive(), runner.room, outbox.unstarted) == (False, 0, 1)
    doors["b"].set()


def test_two_runs_of_one_job_are_two_that_run():
    """It was lost, and came here again while its first run went on."""
    gates = threading.Event(), threading.Event()
    turns = iter(gates)
    jobs.hooks["a"] = lambda: next(turns).wait(LONG)
    queue, outbox, worker = MemoryQueue(), Outbox(), WorkerIdentity()
    runner = threads.Threads(queue, outbox, Pace(1.0, 1), unwatched, lambda why: None, 2)
    queue.join(worker)
    push(queue, "a")
    first = queue.pop((), worker.id)
    with runner:
        for n in (1, 2):
            outbox.receive([first._replace(lease_no=n)])
            runner.run(outbox.start_next, worker.id)
            wait_until(lambda n=n: len(jobs.ran) == n)
        assert runner.room == 0
        gates[0].set()
        wait_until(lambda: outbox.oldest_age)
        wait_until(lambda: runner.room == 1)
        assert runner.is_in_job
        gates[1].set()
        runner.end()
        assert not runner.is_in_job
