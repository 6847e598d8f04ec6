"""One timer for all that is due in a process: a signal in the main thread, and a thread where there is none."""

from __future__ import annotations

import signal
import time

import pytest

from django_jobqueue import JobTimeout
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers.alarm import TimerThread, alarm
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import LONG, nap, push
from tests.workers.stopping import run_to_the_signal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate")]


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
    (job_id,) = push(queue, "a", timeout=0.2)
    run_to_the_signal(queue)
    assert jobs.ran == ["a", "timeout"]
    assert queue.find(job_id).attempt == 0, "given back, not failed"


def test_a_timeout_is_not_lost_to_the_grace(settings):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": LONG}
    queue = MemoryQueue()

    def until_told():
        signal.raise_signal(signal.SIGTERM)
        nap()

    jobs.hooks["a"] = until_told
    push(queue, "a", timeout=0.05, max_attempts=1)
    run_to_the_signal(queue)
    assert [one.reason for one in queue.dead_letters.values()] == ["expired"]


# the signal


class StopAfter(Exception):
    pass


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


# the thread


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
