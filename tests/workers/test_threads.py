"""Several jobs at once in one process, each in a thread."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time

import pytest
from django.db import OperationalError

from django_jobqueue import FixedDelays, NoRetry, task
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import Move, Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import threads
from django_jobqueue.workers.board import unwatched
from django_jobqueue.workers.interruption import Interrupted, ThreadWindow
from django_jobqueue.workers.outbox import Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.shutdown import StopSignals
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Limits, Worker
from tests.crash import tasks
from tests.crash.fixtures import on_most
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import record

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 60.0


@task(retry=FixedDelays([0]))
def fails_at_once(name: str) -> None:
    """Again at once when it fails."""
    record.func(name)


@pytest.fixture(autouse=True)
def _clean_slate():
    jobs.ran.clear()
    jobs.hooks.clear()


def push(queue, *names, task=record, **options):
    return queue.push(*(JobPayload.create(task, (name,), **options) for name in names))


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


# the end


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


def nap():
    for _ in range(10_000):
        time.sleep(0.005)


@pytest.mark.parametrize("work", [nap, lambda: asyncio.run(asyncio.sleep(LONG))], ids=["sync", "own loop"])
def test_the_end_of_the_grace_interrupts_all_that_runs(settings, work):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.1}
    queue = MemoryQueue()
    jobs.hooks.update(dict.fromkeys("abc", work))
    push(queue, *"abc")
    threading.Thread(
        target=lambda: (wait_until(lambda: len(jobs.ran) == 3), signal.raise_signal(signal.SIGTERM)), daemon=True
    ).start()
    with StopSignals() as signals:
        signals.run(Worker(queue, slots=Slots(threads=3)))
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
    threading.Thread(
        target=lambda: (wait_until(lambda: jobs.ran), signal.raise_signal(signal.SIGTERM)), daemon=True
    ).start()
    with StopSignals() as signals:
        signals.run(Worker(queue, slots=Slots(threads=2)))
    assert (queue.jobs[job_id].room.value, queue.jobs[job_id].attempt) == ("ready", 0)


def test_the_cause_of_one_interruption_is_not_that_of_the_next_job():
    window = ThreadWindow()
    window.open()
    window.runs_elsewhere(lambda: None)
    window.interrupt(Interrupted)
    assert window.cause is Interrupted
    window.shut()
    window.open()
    assert window.cause is None


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


def test_a_job_that_cannot_be_interrupted_does_not_keep_the_process(settings, monkeypatch):
    monkeypatch.setattr(threads, "ABANDON_SECONDS", 0.2)
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue, gate = MemoryQueue(), threading.Event()
    lock = threading.Lock()
    lock.acquire()
    jobs.hooks["deaf"] = lambda: lock.acquire(timeout=20)
    push(queue, "deaf")
    threading.Thread(
        target=lambda: (wait_until(lambda: jobs.ran), signal.raise_signal(signal.SIGTERM)), daemon=True
    ).start()
    began = time.monotonic()
    with StopSignals() as signals:
        signals.run(Worker(queue, slots=Slots(threads=2)))
    assert time.monotonic() - began < 15
    assert [job.room.value for job in list(queue.jobs.values())] == ["ready"]
    gate.set()
    lock.release()


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


# real processes


slow = pytest.mark.slow


@slow
@on_most
@pytest.mark.parametrize("option", ["--threads", "--concurrency"])
def test_the_command_runs_jobs_at_once_in_one_process(open_stage, option):
    stage = open_stage()
    gate = stage.directory / "gate"
    for n in range(3):
        stage.push(tasks.gated, f"sync{n}", str(gate))
        stage.push(tasks.agated, f"async{n}", str(gate))
    worker = stage.worker("--drain", option, "6")
    stage.wait_for("start", count=6)
    assert len({line.pid for line in stage.lines("start")}) == 1
    gate.touch()
    code, out, err = finish(worker)
    assert code == 0, err
    assert "6 completed" in out
    assert stage.leases() == 0


@slow
@on_most
@pytest.mark.parametrize("seed", range(3))
def test_a_signal_at_any_moment_leaves_no_lease_and_burns_no_attempt(open_stage, seed):
    stage = open_stage()
    chance = random.Random(seed)
    stage.push_many(tasks.work, 300)
    worker = stage.worker("--threads", "4")
    stage.wait_for("end", count=1)
    moment = time.monotonic() + chance.uniform(0, 0.3)
    wait_until(lambda: time.monotonic() >= moment)
    code, _, err = terminate(worker)
    assert code == 0, err
    assert stage.leases() == 0
    assert not stage.attempts_burnt()
    assert stage.live() + stage.outcomes()["completed"] == 300
    assert len(stage.names("end")) == len(set(stage.names("end"))) == stage.outcomes()["completed"]


@slow
@on_most
def test_the_second_signal_gives_back_what_runs_in_threads(open_stage):
    stage = open_stage()
    for n in range(3):
        stage.push(tasks.gated, f"sync{n}", str(stage.directory / "never"))
        stage.push(tasks.agated, f"async{n}", str(stage.directory / "never"))
    worker = stage.worker("--concurrency", "6")
    stage.wait_for("start", count=6)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: stage.workers("stopping"), "a heartbeat that says it")
    code, _, err = terminate(worker, signal.SIGINT)
    assert code == 0, err
    assert stage.leases() == 0
    assert not stage.attempts_burnt()
    assert not stage.outcomes()
