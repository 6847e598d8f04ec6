"""The worker in this process, on the store in memory: what it fetches, in which order, and how it takes refusals."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import DataError, OperationalError

from django_jobqueue import get_queue
from django_jobqueue.queues.base import Move, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import worker as worker_module
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.worker import Limits, Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import broken, push

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


def drain(queue, queues=(), **limits):
    worker = Worker(queue, queues, Limits(drain=True, **limits))
    worker.run()
    return worker


def rooms(queue):
    return sorted(job.room.value for job in queue.jobs.values())


class Wrapped(MemoryQueue):
    """A store that does something else when `on_exchange` says so: it is called before and may raise."""

    def __init__(self, on_exchange=None, after_exchange=None):
        super().__init__()
        self.on_exchange = on_exchange or (lambda *_: None)
        self.after_exchange = after_exchange or (lambda *_: None)

    def exchange(self, settlements, queues, limit, worker):
        self.on_exchange(settlements, limit)
        exchange = super().exchange(settlements, queues, limit, worker)
        self.after_exchange(settlements, limit, exchange)
        return exchange


# when it ends


def test_drain_ends_when_nothing_is_ready():
    queue = MemoryQueue()
    push(queue, *"abcdefgh")
    push(queue, "later", delay=60)
    worker = drain(queue)
    assert jobs.ran == list("abcdefgh")
    assert worker.counters.completed == 8
    assert rooms(queue) == ["delayed"]


def test_max_jobs_leaves_the_others_untouched():
    queue = MemoryQueue()
    push(queue, *"abcdefgh")
    drain(queue, max_jobs=3)
    assert jobs.ran == list("abc")
    assert rooms(queue) == ["ready"] * 5
    assert {job.lease_no for job in queue.jobs.values()} == {0}, "none of them was even claimed"


def test_a_job_that_stops_its_worker_is_its_last():
    queue = MemoryQueue()
    worker = Worker(queue)
    jobs.hooks["b"] = worker.stop
    push(queue, *"abcdef")
    worker.run()
    assert jobs.ran == list("ab")
    assert rooms(queue) == ["ready"] * 4
    assert {job.attempt for job in queue.jobs.values()} == {0}
    drain(queue)
    assert jobs.ran == list("abcdef")


# the order


def test_queues_are_emptied_in_the_order_they_are_named():
    queue = MemoryQueue()
    jobs.hooks["b2"] = lambda: push(queue, "a-new", queue="a")
    for n in range(3):
        push(queue, f"b{n}", queue="b")
        push(queue, f"a{n}", queue="a")
        push(queue, f"other{n}", queue="c")
    drain(queue, ["a", "b"])
    assert jobs.ran == ["a0", "a1", "a2", "b0", "b1", "b2", "a-new"]
    assert rooms(queue) == ["ready"] * 3


def test_a_flooded_queue_does_not_starve_another():
    queue = MemoryQueue()
    push(queue, *(f"flood{n}" for n in range(500)), queue="a")
    push(queue, "lonely", queue="z")
    drain(queue)
    assert jobs.ran.index("lonely") < 250


def test_priority_goes_before_age():
    queue = MemoryQueue()
    push(queue, "old")
    push(queue, "urgent", priority=100)
    drain(queue)
    assert jobs.ran == ["urgent", "old"]


# what it holds, and gives back


def test_what_waits_behind_a_slow_job_is_given_back_while_it_runs():
    queue = MemoryQueue()
    jobs.hooks["slow"] = lambda: wait_until(lambda: "ready" in rooms(queue), "given back")
    push(queue, *(f"quick{n}" for n in range(5)), "slow", *(f"behind{n}" for n in range(3)))
    drain(queue)
    assert jobs.ran[-4:] == ["slow", "behind0", "behind1", "behind2"]
    assert {one.attempt for one in queue.history} == {1}
    assert not queue.jobs


def test_a_finished_job_is_stored_while_the_next_one_is_slow():
    queue = MemoryQueue()
    stored_after = []

    def slow():
        began = time.monotonic()
        wait_until(lambda: len(queue.history) == 5, "the jobs before it are stored")
        stored_after.append(time.monotonic() - began)

    jobs.hooks["slow"] = slow
    push(queue, *(f"quick{n}" for n in range(5)), "slow")
    drain(queue)
    assert stored_after[0] < 20.0  # the flush time is 0.025; the rest is for a busy machine


def test_drain_waits_for_what_the_flusher_is_giving_back():
    """Jobs that are on their way back to the line are ready: a drain that ends now would leave them."""
    flushing, finished = threading.Event(), threading.Event()

    def delay_the_flusher(settlements, limit):
        if threading.current_thread().name == "jobqueue-flush":
            flushing.set()
            finished.wait(10)

    queue = Wrapped(on_exchange=delay_the_flusher)
    jobs.hooks["slow"] = lambda: (flushing.wait(10), threading.Timer(0.05, finished.set).start())
    push(queue, *(f"quick{n}" for n in range(5)), "slow", *(f"behind{n}" for n in range(3)))
    drain(queue)
    assert len(jobs.ran) == 9
    assert not queue.jobs


def test_jobs_are_not_started_on_a_lease_that_may_have_ended():
    """P3: after a freeze, what was fetched before it may be running elsewhere by now."""
    queue = MemoryQueue()
    worker = Worker(queue, (), Limits(drain=True))
    jobs.hooks["b"] = lambda: setattr(worker._membership, "_alive_until", 0.0)
    push(queue, *"abcde")
    worker.run()
    assert jobs.ran == list("abcde")
    assert worker.counters.by_move[Move.RELEASED] == 3
    assert not queue.jobs


def test_a_worker_that_was_declared_dead_starts_anew_and_its_late_decisions_are_refused():
    queue = MemoryQueue()
    worker = Worker(queue, (), Limits(drain=True))
    first = worker.identity.id

    def freeze():
        queue.workers[first].alive = False
        queue.reclaim()
        worker._membership._alive_until = 0.0
        jobs.hooks.clear()

    jobs.hooks["b"] = freeze
    push(queue, *"abcde")
    worker.run()
    assert worker.identity.id != first
    assert worker.counters.lost == 4, "b itself, and c to e that were fetched with it"
    assert worker.counters.completed == 5
    assert jobs.ran == list("abbcde")
    assert not queue.jobs


# jobs that were lost with a worker


def lose(queue, times, *names):
    """As if workers had died with these jobs."""
    ids = push(queue, *names)
    for _ in range(times):
        dead = WorkerIdentity()
        queue.join(dead)
        queue.reserve((), len(names), dead.id)
        queue.workers[dead.id].alive = False
        queue.reclaim()
    return ids


def test_a_job_that_was_lost_with_a_worker_runs_alone_and_in_its_place():
    queue = MemoryQueue()
    together = []

    def look():
        together.append(sum(job.room == "leased" for job in queue.jobs.values()))

    lost = [f"lost{n}" for n in range(4)]
    jobs.hooks.update(dict.fromkeys(lost, look))
    push(queue, *(f"before{n}" for n in range(5)))
    lost_ids = push(queue, *lost)
    push(queue, *(f"after{n}" for n in range(5)))
    for job_id in lost_ids:
        queue.jobs[job_id].crashes = 1
    drain(queue)
    assert jobs.ran == [*(f"before{n}" for n in range(5)), *lost, *(f"after{n}" for n in range(5))]
    assert together == [1, 1, 1, 1], "even what was fetched with it is back in the store before it starts"


def test_a_suspect_is_not_pushed_aside_by_calm_jobs():
    queue = MemoryQueue()
    lose(queue, 1, "suspect")
    pushed = []

    def push_more():
        if len(pushed) < 40:
            pushed.append(push(queue, f"calm{len(pushed)}"))

    jobs.hooks.update({f"calm{n}": push_more for n in range(50)})
    push(queue, "calm0")
    drain(queue)
    assert jobs.ran[0] == "suspect"


# a store that refuses, or does not answer


def refuse(bad):
    def on_exchange(settlements, limit):
        if any(bad(one) for one in settlements):
            raise DataError("no")

    return on_exchange


def test_a_refused_settlement_does_not_hold_up_the_others():
    queue = Wrapped(on_exchange=refuse(lambda one: "bad" in one.result))
    jobs.hooks["b"] = lambda: "bad"
    push(queue, *"abcdefg")
    worker = drain(queue)
    assert jobs.ran == list("abcdefg"), "the drain goes on after the refusal"
    assert worker.counters.completed == 6
    [letter] = queue.dead_letters.values()
    assert letter.reason == "result_invalid"
    assert not queue.jobs


def test_a_settlement_that_is_refused_in_any_form_costs_nobody_else_anything():
    bad_id = []
    queue = Wrapped(on_exchange=refuse(lambda one: one.reservation.job_id in bad_id))
    ids = push(queue, *"abcdefg")
    bad_id.append(ids[2])
    worker = drain(queue)
    assert worker.counters.completed == 6
    assert rooms(queue) == ["ready"], "its lease was given back when the worker left"


def test_an_unexpected_error_of_the_store_is_a_refusal_too():
    def on_exchange(settlements, limit):
        if any(one.result for one in settlements):
            raise OverflowError("Python int too large to convert to SQLite INTEGER")

    queue = Wrapped(on_exchange=on_exchange)
    jobs.hooks["b"] = lambda: 1
    push(queue, *"abc")
    drain(queue)
    assert sorted(jobs.ran) == list("abc")
    assert not queue.jobs


def outage(times):
    left = [times]

    def fail(settlements, limit, exchange=None):
        if (limit > 1 or settlements) and left[0]:
            left[0] -= 1
            raise OperationalError("server closed the connection unexpectedly")

    return fail


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr(worker_module, "OUTAGE_FIRST_PAUSE", 0.001)


@pytest.mark.usefixtures("quick_pauses")
def test_an_outage_before_the_move_costs_nothing():
    queue = Wrapped(on_exchange=outage(4))
    push(queue, *"abcdefg")
    worker = drain(queue)
    assert sorted(jobs.ran) == list("abcdefg")
    assert worker.counters.completed == 7
    assert worker.counters.lost == 0


@pytest.mark.usefixtures("quick_pauses")
def test_a_claim_whose_answer_was_lost_is_given_back():
    """The store has leased jobs to a worker that never heard of it and lives on: nobody would reclaim them."""
    queue = Wrapped(after_exchange=outage(4))
    push(queue, *"abcdefg")
    drain(queue)
    assert sorted(jobs.ran) == list("abcdefg"), "each ran once"
    assert not queue.jobs
    assert {one.attempt for one in queue.history} == {1}


def test_a_fault_in_the_executor_costs_neither_the_worker_nor_the_job(monkeypatch):
    run = Executor.run
    faults = [True]

    def run_or_fail(self, reservation, received_at):
        if '"b"' in reservation.args and faults:
            faults.pop()
            raise LookupError("a fault of ours")
        return run(self, reservation, received_at)

    monkeypatch.setattr(Executor, "run", run_or_fail)
    queue = MemoryQueue()
    push(queue, *"abc", max_attempts=3)
    worker = drain(queue)
    assert jobs.ran == list("ac")
    assert worker.counters.by_move[Move.RETRY] == 1
    assert rooms(queue) == ["delayed"]


def test_everything_is_counted():
    queue = MemoryQueue()
    push(queue, *"abc")
    push(queue, *"xy", task=broken)
    worker = drain(queue)
    assert (worker.counters.completed, worker.counters.failed) == (3, 2)


# a store that is away at the start


def test_p10_a_store_that_is_away_at_the_start_is_waited_for(monkeypatch):
    queue, tries = MemoryQueue(), []
    push(queue, "a")
    join = queue.join

    def away_at_first(worker):
        tries.append(worker.id)
        if len(tries) < 3:
            raise OperationalError("not yet")
        join(worker)

    monkeypatch.setattr(queue, "join", away_at_first)
    monkeypatch.setattr(worker_module, "OUTAGE_FIRST_PAUSE", 0.01)
    worker = Worker(queue)
    jobs.hooks["a"] = worker.stop
    worker.run()
    assert jobs.ran == ["a"]
    assert len(set(tries)) == 3, "each time under a new name: the store may know the last one"


def test_a_worker_that_only_drains_says_that_its_store_is_away(monkeypatch):
    queue = MemoryQueue()

    def away(worker):
        raise OperationalError("not here")

    monkeypatch.setattr(queue, "join", away)
    with pytest.raises(OperationalError, match="not here"):
        drain(queue)


def test_a_worker_can_be_stopped_while_it_waits_for_its_store(monkeypatch):
    queue = MemoryQueue()
    worker = Worker(queue)

    def away(_):
        worker.stop()
        raise OperationalError("not here")

    monkeypatch.setattr(queue, "join", away)
    assert worker.run().completed == 0


@pytest.mark.parametrize("store", ["memory", "default"])
def test_a_drain_does_not_take_its_own_burial_for_the_end_of_the_line(store):
    """Who was declared dead gets nothing, and a database does not say why."""
    queue = MemoryQueue() if store == "memory" else get_queue(store)
    worker = Worker(queue, (), Limits(drain=True))
    jobs.hooks["first"] = lambda: len(jobs.ran) > 1 or queue.declare_dead(worker.identity.id)
    push(queue, "first", "second")
    worker.run()
    assert queue.size() == 0
    assert jobs.ran == ["first", "first", "second"]
