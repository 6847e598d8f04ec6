"""How the jobs that a worker holds are run: here one after the other; `threads.py` runs several at once."""

from __future__ import annotations

import logging
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Self
from uuid import UUID

from django_jobqueue.lifecycle.outcomes import Timing, failed, interrupted
from django_jobqueue.queues.base import Queue, Reservation, Settlement
from django_jobqueue.workers.alarm import Clock, TimerThread, alarm
from django_jobqueue.workers.announcer import Announcer
from django_jobqueue.workers.board import Watch
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.hygiene import clean_connections, close_connections, prepare_thread
from django_jobqueue.workers.interruption import Interrupted, JobWindow, ThreadWindow
from django_jobqueue.workers.outbox import Held, Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.stops import Stops
from django_jobqueue.workers.surroundings import Surroundings
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.traces import Traces

logger = logging.getLogger("django_jobqueue.worker")

Retire = Callable[[str], None]
"""Told why this process must be replaced."""

NextJob = Callable[[bool], Held | None]
"""The next job to start. None: there is none, or nothing may be started now. True: one that must run alone, too."""


class Runner(ABC):
    """Runs jobs of one worker and puts what came of them into its outbox. `slots`: how many at once."""

    slots = 1
    is_beside = False
    """Whether jobs run in other threads than the worker's, which can fetch more meanwhile."""

    def __init__(self, queue: Queue, outbox: Outbox, pace: Pace, watch: Watch, retire: Retire) -> None:
        self._queue = queue
        self._outbox = outbox
        self._pace = pace
        self._watch = watch
        self.stops = Stops()
        self._announcer = Announcer(queue)
        self._retire = retire
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """In the worker's thread, before anything runs."""
        self._surroundings = Surroundings(self._retire)
        self._stack.callback(self._surroundings.end)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @abstractmethod
    def run(self, next_job: NextJob, worker: UUID) -> None:
        """Start jobs as long as there are any. Those of a runner with several slots may go on afterwards."""

    @abstractmethod
    def interrupt(self) -> None:
        """Raise `Interrupted` in every running job. For signal handlers of the main thread."""

    @property
    @abstractmethod
    def running(self) -> str:
        """What runs, for operators."""

    @property
    @abstractmethod
    def is_in_job(self) -> bool: ...

    @property
    def room(self) -> int:
        """How many jobs could start now."""
        return self.slots

    def wait_for_room(self, is_over: Callable[[], bool]) -> None:  # noqa: B027 (there is always room)
        """Until a job could start, or `is_over`."""

    def wait_until_idle(self, is_over: Callable[[], bool]) -> None:  # noqa: B027 (nothing runs meanwhile)
        """Until nothing runs, or `is_over`."""

    def wait_for_an_end(self, is_over: Callable[[], bool]) -> bool:
        """Until one of the running jobs has ended, or `is_over`. False: none runs."""
        return False

    def wake(self) -> None:  # noqa: B027
        """End a wait at once, so that it asks `is_over` again. May be called from a signal handler."""

    def end(self) -> None:  # noqa: B027
        """Wait for what runs. What does not end when it is interrupted is given back."""


def settlement_of(attempt: Callable[[], Settlement], job: Reservation, window: JobWindow) -> Settlement:
    """What `attempt` comes to, whatever happens in it."""
    try:
        return attempt()
    except Interrupted:
        window.shut()  # it may have been raised on the way out, before the window was shut
        return interrupted(job)
    except Exception as error:  # a fault of ours, not the job's: it must cost neither the job nor the worker
        logger.exception("Job %s could not be run.", job.job_id)
        return failed(job, error, None, Timing())


def perform(attempt: Callable[[], Settlement], job: Reservation, window: JobWindow, outbox: Outbox) -> None:
    """Bring one job to its settlement, and leave nothing of it in this thread."""
    outbox.finish(settlement_of(attempt, job, window))
    if window.was_interrupted:
        close_connections()  # a driver may have been in the middle of a conversation
    else:
        clean_connections()


@contextmanager
def quick_switches() -> Iterator[None]:
    """A thread that waits for the GIL gets it after a millisecond, not five: measured, 12 % more jobs from Redis.

    Not for jobs in threads: there it would be taken from the next job, not from the last.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Inline(Runner):
    """One after the other, in the thread of the worker: the main one, where signals reach a job, or another."""

    def __init__(self, queue: Queue, outbox: Outbox, pace: Pace, watch: Watch, retire: Retire) -> None:
        super().__init__(queue, outbox, pace, watch, retire)
        self._window = JobWindow()
        self._running = ""

    def __enter__(self) -> Self:
        clock: Clock = alarm
        if threading.current_thread() is threading.main_thread():
            self._stack.enter_context(alarm)
        else:
            clock, self._window = TimerThread(), ThreadWindow()
            self._stack.callback(clock.stop)
        self._stack.enter_context(quick_switches())
        self._timeouts = Timeouts(clock, self._watch)
        self._traces = Traces()
        prepare_thread()
        return super().__enter__()

    def run(self, next_job: NextJob, worker: UUID) -> None:
        executor = Executor(self._queue, worker, self._window, self._timeouts, self.stops, self._announcer)
        begun, ran = time.monotonic(), 0
        while (held := next_job(True)) is not None:
            self._running = held.reservation.task
            perform(partial(executor.run, *held), held.reservation, self._window, self._outbox)
            self._traces.restore()
            self._surroundings.restore(held.reservation.task)
            self._running = ""
            ran += 1
        self._pace.ran(ran, time.monotonic() - begun)

    def interrupt(self) -> None:
        self._window.interrupt(Interrupted)

    @property
    def running(self) -> str:
        return self._running

    @property
    def is_in_job(self) -> bool:
        return self._window.is_open
