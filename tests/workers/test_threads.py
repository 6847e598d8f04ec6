"""Several jobs at once in one process, each in a thread."""

from __future__ import annotations

import threading
import time

import pytest

from django_jobqueue import FixedDelays, task
from django_jobqueue.queues.base import Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Limits, Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import LONG, nap, push, record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


@task(retry=FixedDelays([0]))
def fails_at_once(name: str) -> None:
    """Again at once when it fails."""
    record.func(name)


def worker_of(queue, threads=4, **options):
    return Worker(queue, (), Limits(drain=True), slots=Slots(threads=threads), **options)


class AtOnce:
    """How many were inside at once, at most."""

    def __init__(self, wait_for=1):
        self.inside = self.most = 0
        self._wait_for = wait_for
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        wait_until(lambda: self.most >= self._wait_for, "others beside this one")
        with self._lock:
            self.inside -= 1


# how many


def test_so_many_run_at_once_and_no_more():
    queue, at_once = MemoryQueue(), AtOnce(4)
    jobs.hooks.update(dict.fromkeys("abcdefghijklmnop", at_once))
    push(queue, *"abcdefghijklmnop")
    worker = worker_of(queue)
    worker.run()
    assert at_once.most == 4
    assert sorted(jobs.ran) == list("abcdefghijklmnop")
    assert worker.counters.completed == 16
    assert queue.size() == 0


def test_everything_runs_once():
    queue = MemoryQueue()
    names = [str(n) for n in range(3_000)]
    push(queue, *names)
    worker = worker_of(queue)
    worker.run()
    assert sorted(jobs.ran, key=int) == names
    assert (worker.counters.completed, worker.counters.lost) == (3_000, 0)


def test_a_slow_job_holds_up_one_thread_only():
    queue, gate = MemoryQueue(), threading.Event()
    jobs.hooks["slow"] = lambda: gate.wait(20)
    jobs.hooks["last"] = gate.set
    push(queue, "slow", *(str(n) for n in range(50)), "last")
    worker_of(queue, 2).run()
    assert jobs.ran[0] == "slow"
    assert len(jobs.ran) == 52


def test_threads_are_started_when_they_are_needed():
    queue, names = MemoryQueue(), set()
    jobs.hooks.update(dict.fromkeys("abc", lambda: names.add(threading.current_thread().name)))
    push(queue, *"abc")
    before = set(threading.enumerate())
    worker_of(queue, 500).run()
    assert len(names) <= 3
    assert set(threading.enumerate()) <= before


def test_drain_sees_the_retry_of_a_job_that_ended_while_the_line_was_found_empty():
    """Its failure is not stored yet when nothing runs any more."""
    gate = threading.Event()

    class Late(MemoryQueue):
        def exchange(self, settlements, queues, limit, worker):
            exchange = super().exchange(settlements, queues, limit, worker)
            if runner.is_in_job and not exchange.reservations:
                gate.set()
                wait_until(lambda: not runner.is_in_job)
            return exchange

    def fail_once():
        gate.wait(LONG)
        if len(jobs.ran) == 1:
            raise ValueError("once")

    queue = Late()
    jobs.hooks["a"] = fail_once
    push(queue, "a", task=fails_at_once, max_attempts=2)
    worker = worker_of(queue, 2)
    runner = worker._runner
    worker.run()
    assert (jobs.ran, worker.counters.completed) == (["a", "a"], 1)


def test_drain_sees_what_a_job_pushes_that_still_ran_when_the_line_was_empty():
    queue = MemoryQueue()

    def later():
        time.sleep(0.2)
        push(queue, "more")

    jobs.hooks["a"] = later
    push(queue, "a")
    worker_of(queue).run()
    assert jobs.ran == ["a", "more"]


def test_what_is_given_back_as_soon_as_it_was_fetched_is_no_empty_line(monkeypatch):
    """The drain ended, with two thousand jobs in the line."""
    queue, times = MemoryQueue(), [1, 2, 3]
    push(queue, *(str(n) for n in range(20)))
    worker = worker_of(queue, 2)
    fetch = worker._intake.fetch

    def fetch_for_nothing(*arguments):
        exchange = fetch(*arguments)
        if times:
            times.pop()
            worker._outbox.give_back_unstarted()
        return exchange

    monkeypatch.setattr(worker._intake, "fetch", fetch_for_nothing)
    worker.run()
    assert len(jobs.ran) == 20


def test_max_jobs_is_kept():
    queue = MemoryQueue()
    push(queue, *(str(n) for n in range(20)))
    worker = Worker(queue, (), Limits(max_jobs=7), slots=Slots(threads=3))
    worker.run()
    assert worker.counters.completed == 7
    assert queue.size() == 13


# what is held


def test_slow_jobs_are_not_hoarded():
    """While all threads are busy nothing more is fetched: it would wait here, and not at a worker that has time."""
    queue, gate = MemoryQueue(), threading.Event()
    jobs.hooks.update({str(n): lambda: gate.wait(20) for n in range(20)})
    push(queue, *(str(n) for n in range(20)))
    worker = worker_of(queue, 4)
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: len(jobs.ran) == 4)
    time.sleep(0.3)
    held = [job for job in list(queue.jobs.values()) if job.room.value == "leased"]
    gate.set()
    thread.join(20)
    assert len(held) == 4
    assert len(jobs.ran) == 20


def test_what_waits_behind_slow_jobs_is_given_back():
    queue, gate = MemoryQueue(), threading.Event()
    push(queue, *(f"quick{n}" for n in range(600)))
    jobs.hooks.update({f"slow{n}": lambda: gate.wait(20) for n in range(2)})
    push(queue, "slow0", "slow1", *(f"later{n}" for n in range(30)))
    worker = worker_of(queue, 2)
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: "slow0" in jobs.ran and "slow1" in jobs.ran)
    wait_until(
        lambda: sum(job.room.value == "leased" for job in list(queue.jobs.values())) == 2, "the rest is given back"
    )
    gate.set()
    thread.join(20)
    assert len(jobs.ran) == 632
    assert {one.attempt for one in queue.history} == {1}


def test_a_suspect_runs_alone():
    """If it kills this process, nobody else is charged."""
    queue, at_once, beside = MemoryQueue(), AtOnce(), []
    lost = WorkerIdentity()
    queue.join(lost)
    push(queue, "suspect")
    assert queue.pop((), lost.id)
    queue.declare_dead(lost.id)
    jobs.hooks.update(dict.fromkeys([f"before{n}" for n in range(3)], lambda: time.sleep(0.05)))
    jobs.hooks["suspect"] = lambda: beside.append(
        [job.room.value for job in list(queue.jobs.values()) if job.room.value == "leased"]
    )
    push(queue, *(f"before{n}" for n in range(3)), priority=50)
    push(queue, *(f"after{n}" for n in range(3)))
    jobs.hooks.update(dict.fromkeys([f"after{n}" for n in range(3)], at_once))
    worker_of(queue).run()
    assert beside == [["leased"]]
    assert len(jobs.ran) == 7


def test_more_is_fetched_before_the_last_in_hand_is_started_and_never_more_than_a_batch():
    """Else all threads would wait for the store each time."""
    fetched, held = [], []

    class Seen(MemoryQueue):
        def exchange(self, settlements, queues, limit, worker):
            before = runner._outbox.unstarted
            exchange = super().exchange(settlements, queues, limit, worker)
            if exchange.reservations:
                fetched.append(before)
                held.append(before + len(exchange.reservations))
            return exchange

    queue = Seen()
    names = [str(n) for n in range(4_000)]
    jobs.hooks.update(dict.fromkeys(names, lambda: time.sleep(0.001)))
    push(queue, *names)
    worker = worker_of(queue, 16)
    runner = worker._runner
    worker.run()
    assert len(jobs.ran) == 4_000
    assert any(fetched), "it waited until nothing was in hand"
    assert max(held) <= 500


def test_slow_jobs_are_not_fetched_before_there_is_room_for_them():
    queue, gate = MemoryQueue(), threading.Event()
    names = [str(n) for n in range(40)]
    jobs.hooks.update({name: lambda: gate.wait(LONG) for name in names[8:]})
    push(queue, *names)
    thread = threading.Thread(target=worker_of(queue, 4).run)
    thread.start()
    wait_until(lambda: len(jobs.ran) == 12)
    wait_until(lambda: sum(job.room is Room.LEASED for job in list(queue.jobs.values())) == 4)
    gate.set()
    thread.join(LONG)
    assert len(jobs.ran) == 40


# timeouts


def test_each_job_has_a_timeout_of_its_own(caplog):
    queue = MemoryQueue()
    jobs.hooks.update({"a": nap, "b": nap, "c": lambda: time.sleep(0.3)})
    push(queue, "a", "b", timeout=0.05, max_attempts=1)
    push(queue, "c", timeout=LONG)
    published = []
    worker = worker_of(queue, watch=published.append)
    worker.run()
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"] * 2
    assert worker.counters.completed == 1
    assert published[-1] is None
    assert all(one is None or one.at > 0 for one in published)
