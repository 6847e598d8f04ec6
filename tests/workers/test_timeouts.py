"""A job that has run for its timeout hears of it, wherever it runs, and nobody else does."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
import time

import pytest

from django_jobqueue import JobTimeout, NoRetry, task
from django_jobqueue.exceptions import JobCancelled
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.lifecycle import outcomes
from django_jobqueue.queues.base import Move, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import interruption
from django_jobqueue.workers.alarm import Alarm, TimerThread, alarm
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.interruption import Interrupted, ThreadWindow
from django_jobqueue.workers.shutdown import StopSignals
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.worker import Limits, Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import record

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 60.0


@pytest.fixture(autouse=True)
def _clean_slate():
    jobs.ran.clear()
    jobs.hooks.clear()


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


class Seen(list):
    """The deadlines that were published."""

    def __call__(self, deadline):
        self.append(deadline)


def push(queue, task, *args, **options):
    return queue.push(JobPayload.create(task, args, **options))[0]


def drain(queue, run=Worker.run, **options):
    worker = Worker(queue, (), Limits(drain=True), **options)
    run(worker)
    return worker


def spin():
    while True:
        pass


def nap():
    """In pieces: an exception for a thread comes when it runs Python code again."""
    for _ in range(10_000):
        time.sleep(0.005)


def test_two_runs_of_one_job_have_deadlines_of_their_own():
    """It was lost, and came here again while its first run went on."""
    seen, now = Seen(), time.monotonic()
    clock = TimerThread()
    timeouts, queue, worker = Timeouts(clock, seen), MemoryQueue(), WorkerIdentity()
    queue.join(worker)
    push(queue, record, "a")
    first = queue.pop((), worker.id)
    again = first._replace(lease_no=2)
    timeouts.begin(first, now + LONG, ThreadWindow())
    timeouts.begin(again, now + 2 * LONG, ThreadWindow())
    timeouts.end(first)
    assert (seen[-1].job_id, seen[-1].lease_no) == (again.job_id, 2)
    timeouts.end(again)
    clock.stop()
    assert seen[-1] is None


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


class StopAfter(Exception):
    pass


# it is raised


@pytest.mark.parametrize("work", [spin, nap])
def test_a_job_is_told_that_its_time_is_up_and_the_next_one_runs(run, work):
    queue = MemoryQueue()
    jobs.hooks["slow"] = work
    push(queue, record, "slow", timeout=0.05, max_attempts=1)
    push(queue, record, "next", timeout=LONG)
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
    push(queue, record, "slow", timeout=0.05, max_attempts=1)
    began = time.monotonic()
    drain(queue)
    assert time.monotonic() - began < LONG / 2
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


def test_a_coroutine_is_cancelled_and_may_clean_up(run):
    queue = MemoryQueue()
    push(queue, sleep_async, "a", max_attempts=1)
    push(queue, record, "next")
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
    push(queue, record, "slow", timeout=0.02, max_attempts=2)
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
    push(queue, record, "a", timeout=0.02, max_attempts=1)
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
    push(queue, record, "a", timeout=0.02)
    worker = drain(queue, run)
    assert len(heard) == 3
    assert worker.counters.completed == 1, "it has done its work, late"


def test_a_job_that_ends_in_time_leaves_nothing_behind(run):
    queue = MemoryQueue()
    for n in range(200):
        push(queue, record, str(n), timeout=1.0)
    jobs.hooks["last"] = lambda: [time.sleep(0.01) for _ in range(110)]
    push(queue, record, "last")
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
    push(queue, record, "slow", timeout=0.02, max_attempts=1)
    push(queue, record, "next")
    drain(queue)
    assert raw[0] is not None
    assert raw[1] is None


# how much time is left


def test_a_job_can_ask_how_much_time_is_left():
    queue = MemoryQueue()
    push(queue, how_long, timeout=3_600.0)
    push(queue, how_long)
    drain(queue)
    assert 3_500 < jobs.ran[0] <= 3_600
    assert jobs.ran[1] is None


# who watches


def test_the_earliest_hard_deadline_is_published_and_taken_back(settings):
    settings.JOBQUEUE = {"KILL_AFTER": 7.0}
    queue, seen = MemoryQueue(), Seen()
    limited, _ = push(queue, record, "a", timeout=3.0), push(queue, record, "b")
    before = time.monotonic()
    drain(queue, watch=seen)
    assert [one and one.job_id for one in seen] == [limited, None]
    assert before + 10 <= seen[0].at <= time.monotonic() + 10
    assert seen[0].lease_no == 1


def test_a_job_without_a_timeout_costs_nothing(monkeypatch):
    calls = []
    monkeypatch.setattr(Alarm, "at", lambda *args: calls.append(args))
    queue, seen = MemoryQueue(), Seen()
    for n in range(10):
        push(queue, record, str(n))
    drain(queue, watch=seen)
    assert calls == seen == []


# two who need one timer


def test_the_end_of_the_grace_is_not_lost_to_a_timeout(settings):
    """Both are told by one timer, whichever comes first."""
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 1.5}
    queue = MemoryQueue()

    def until_told():
        try:
            signal.raise_signal(signal.SIGTERM)
            nap()
        except JobTimeout:
            jobs.ran.append("timeout")
        nap()

    jobs.hooks["a"] = until_told
    job_id = push(queue, record, "a", timeout=0.2)
    with StopSignals() as signals:
        signals.run(Worker(queue))
    assert jobs.ran == ["a", "timeout"]
    assert queue.find(job_id).attempt == 0, "given back, not failed"


def test_a_timeout_is_not_lost_to_the_grace(settings):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": LONG}
    queue = MemoryQueue()

    def until_told():
        signal.raise_signal(signal.SIGTERM)
        nap()

    jobs.hooks["a"] = until_told
    push(queue, record, "a", timeout=0.05, max_attempts=1)
    with StopSignals() as signals:
        signals.run(Worker(queue))
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


class TestAlarm:
    def test_rings_for_each_in_turn(self):
        rung = []
        with alarm:
            now = time.monotonic()
            for n in (3, 1, 2):
                alarm.at(n, now + n / 100, lambda n=n: rung.append(n))
            alarm.at("never", now + LONG, lambda: rung.append("never"))
            alarm.cancel("never")
            wait_until(lambda: len(rung) == 3)
            assert alarm._next() is None
        assert rung == [1, 2, 3]

    def test_of_several_that_are_due_the_earliest_rings_first(self, monkeypatch):
        """A process that had no turn for a while: a timeout, then the end of the grace, whichever was set first."""
        rung, now = [], time.monotonic()
        with alarm:
            with monkeypatch.context() as still:  # to block the signal is not enough: another thread would take it
                still.setattr(signal, "setitimer", lambda *_: None)
                for n in (3, 1, 2):
                    alarm.at(n, now - 10 + n, lambda n=n: rung.append(n))
            alarm.rewind()
            wait_until(lambda: len(rung) == 3)
        assert rung == [1, 2, 3]

    def test_one_that_raises_does_not_keep_the_others_from_ringing(self):
        rung = []

        def fail():
            rung.append("fails")
            raise StopAfter

        with alarm:
            past = time.monotonic() - 1
            with pytest.raises(StopAfter):  # noqa: PT012 (it comes when it comes)
                alarm.at("a", past, fail)
                wait_until(lambda: False)
            alarm.at("b", past, lambda: rung.append("b"))
            wait_until(lambda: len(rung) == 2)
        assert rung == ["fails", "b"]

    def test_gives_signal_and_timer_back(self):
        before = signal.getsignal(signal.SIGALRM)
        with alarm, alarm:
            alarm.at("a", time.monotonic() + LONG, lambda: None)
        assert signal.getsignal(signal.SIGALRM) == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_is_wound_right_whatever_a_handler_does_meanwhile(self):
        """A handler that sets an earlier moment while the timer is being set for a later one."""
        rung = []
        previous = signal.signal(signal.SIGUSR1, lambda *_: alarm.at("early", time.monotonic(), lambda: rung.append(1)))
        try:
            with alarm:
                for _ in range(2_000):
                    signal.raise_signal(signal.SIGUSR1)
                    alarm.at("late", time.monotonic() + LONG, lambda: None)
                    alarm.cancel("late")
                wait_until(lambda: "early" not in alarm._due)
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert rung


def test_a_timer_thread_does_what_is_due_and_survives_an_error():
    clock, done = TimerThread(), []
    with clock._changed:  # it waits for that
        now = time.monotonic()
        clock.at("later", now + 0.02, lambda: done.append("later"))
        clock.at("broken", now, lambda: 1 / 0)
        clock.at("never", now + 0.01, lambda: done.append("never"))
        clock.cancel("never")
    wait_until(lambda: done)
    clock.stop()
    clock.join(20)
    assert done == ["later"]
    assert not clock.is_alive()


def test_a_clock_is_woken_only_by_what_is_due_sooner(monkeypatch):
    clock, done, woken = TimerThread(), [], []
    notify = clock._changed.notify
    monkeypatch.setattr(clock._changed, "notify", lambda: (woken.append(1), notify()))
    now = time.monotonic()
    clock.at("far", now + LONG, lambda: None)
    wait_until(lambda: clock._awake_at == now + LONG, "it waits")
    woken.clear()
    clock.at("further", now + 2 * LONG, lambda: None)
    assert not woken
    clock.at("near", now + 0.01, lambda: done.append(1))
    assert woken
    wait_until(lambda: done)
    clock.stop()
    clock.join(20)
    assert not clock.is_alive()


def test_the_earliest_of_many_is_published_and_those_that_have_ended_are_forgotten():
    """Jobs come and go while one goes on for long."""
    queue, worker, chance = MemoryQueue(), WorkerIdentity(), random.Random(7)
    queue.join(worker)
    push(queue, record, "a")
    job = queue.pop((), worker.id)
    clock, seen = Noted(), Seen()
    timeouts, alive, now = Timeouts(clock, seen), {}, time.monotonic()
    timeouts.begin(job, now + 1, ThreadWindow())
    for number in range(2, 3_000):
        alive[number] = now + chance.choice((0.5, 2, 3)) * LONG
        timeouts.begin(job._replace(lease_no=number), alive[number], ThreadWindow())
        if len(alive) > 5:
            ended = chance.choice(list(alive))
            del alive[ended]
            timeouts.end(job._replace(lease_no=ended))
        assert seen[-1].lease_no == 1
    assert len(timeouts._line) < 200
    timeouts.end(job)
    while alive:
        assert seen[-1].lease_no == min(alive, key=lambda number: (alive[number], number))
        ended = chance.choice(list(alive))
        del alive[ended]
        timeouts.end(job._replace(lease_no=ended))
    assert seen[-1] is None


# into a thread


def test_nothing_is_raised_in_a_thread_whose_job_has_ended():
    """Interrupted at any moment on its way out, or just after: the bookkeeping that follows is never hit."""
    escaped, caught, rounds = [], [], 2_000
    windows = []

    def work():
        for n in range(rounds):
            window = ThreadWindow()
            windows.append(window)
            try:
                try:
                    window.open()
                    for _ in range(n):
                        pass
                finally:
                    window.shut()
            except Interrupted:
                window.shut()
                caught.append(n)
            try:
                for _ in range(20):
                    pass
            except BaseException as error:
                escaped.append(error)

    thread = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        while thread.is_alive():
            if windows:
                windows[-1].interrupt(Interrupted)
    finally:
        sys.setswitchinterval(interval)
    assert escaped == []
    assert len(windows) == rounds
    assert caught


def test_a_job_does_not_end_while_something_is_about_to_be_raised_in_it(monkeypatch):
    """Seen to be open, it was shut, and the exception came in the middle of what followed."""
    raise_in, about_to = interruption._raise_in, threading.Event()

    def slowly(thread, cause):
        if cause is not None:
            about_to.set()
            time.sleep(0.1)
        raise_in(thread, cause)

    monkeypatch.setattr(interruption, "_raise_in", slowly)
    windows, followed = [], []

    def work():
        window = ThreadWindow()
        windows.append(window)
        try:
            window.open()
            about_to.wait(20)
        finally:
            window.shut()
        wait_until(lambda: not windows)
        followed.append("nothing was raised")

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: windows and windows[0].is_open)
    assert windows[0].interrupt(Interrupted)
    windows.clear()
    thread.join()
    assert followed


def test_expired_is_said_of_a_job_that_is_dead_of_it_and_of_no_other():
    queue = MemoryQueue()
    push(queue, record, "a", max_attempts=1)
    worker = Worker(queue)
    queue.join(worker.identity)
    job = queue.pop((), worker.identity.id)
    assert outcomes.failed(job, JobTimeout(), None, outcomes.Timing()).reason == "expired"
    assert outcomes.failed(job, TimeoutError(), None, outcomes.Timing()).reason == "exhausted"


class Noted(dict):
    """A clock that only remembers."""

    def at(self, name, moment, action):
        self[name] = action.args[-1]

    def cancel(self, name):
        self.pop(name, None)


def test_a_request_that_came_before_the_timeout_began_is_not_forgotten():
    """It is told once, and may be heard when the job is about to begin."""
    queue = MemoryQueue()
    worker = WorkerIdentity()
    queue.join(worker)
    push(queue, record, "x")
    job, clock, seen = queue.pop((), worker.id), Noted(), Seen()
    timeouts = Timeouts(clock, seen)
    timeouts.stop(job, ThreadWindow())
    timeouts.begin(job, time.monotonic() + LONG, ThreadWindow())
    run = job.job_id, job.lease_no
    assert clock == {run: JobCancelled}
    timeouts.end(job)
    timeouts.begin(job, time.monotonic() + LONG, ThreadWindow())
    assert clock == {run: JobTimeout}
    assert [deadline is None for deadline in seen] == [False, True, False]


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
