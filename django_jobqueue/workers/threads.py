"""Several jobs at once in one process, each in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from uuid import UUID

from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.queues.base import Queue, Reservation
from django_jobqueue.queues.bell import Bell
from django_jobqueue.workers.alarm import TimerThread
from django_jobqueue.workers.board import Watch
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.hygiene import close_connections, prepare_thread
from django_jobqueue.workers.interruption import Interrupted, JobWindow, ThreadWindow
from django_jobqueue.workers.outbox import Held, Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.runners import NextJob, Retire, Runner, perform
from django_jobqueue.workers.timeouts import Timeouts
from django_jobqueue.workers.traces import Traces

logger = logging.getLogger("django_jobqueue.worker")

LOOK_SECONDS = 0.25
ABANDON_SECONDS = 4.0
"""How long a job in a thread may go on after it was interrupted, before the process ends without it."""


class Run:
    """A job on its way to a thread, or in one, claimed by `worker`.

    It is found by itself, not by its id: a lost job may come here again while its first run goes on.
    """

    __slots__ = ("held", "window", "worker")

    def __init__(self, held: Held, worker: UUID) -> None:
        self.held = held
        self.worker = worker
        self.window = JobWindow()

    @property
    def job(self) -> Reservation:
        return self.held.reservation


class Threads(Runner):
    """Runs up to `slots` jobs at once.

    Only the worker's own thread calls `run`, `end` and the waits. A thread is started when it is needed first.
    """

    is_beside = True

    def __init__(
        self,
        queue: Queue,
        outbox: Outbox,
        pace: Pace,
        watch: Watch,
        retire: Retire,
        slots: int,
    ) -> None:
        super().__init__(queue, outbox, pace, watch, retire)
        self.slots = slots
        self._clock = TimerThread()
        self._timeouts = Timeouts(self._clock, watch)
        self._bell = Bell()
        self._is_waiting = False
        self._is_low = False
        self._next: tuple[NextJob, UUID] | None = None
        self._given: SimpleQueue[Run | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: set[Run] = set()
        self._took: deque[float] = deque()
        self._interrupted_at: float | None = None

    # -- in the worker's thread --------------------------------------------------------------------------------------

    def run(self, next_job: NextJob, worker: UUID) -> None:
        """Gives jobs to threads that have none. The others take their next one themselves, as soon as they can."""
        self._is_low = False
        self._next = next_job, worker
        while self.room > 0 and (held := next_job(True)) is not None:
            run = Run(held, worker)
            self._running.add(run)
            self._start(run)
        ended = [self._took.popleft() for _ in range(len(self._took))]
        self._pace.ran(len(ended), sum(ended) / self.slots)

    def _start(self, run: Run) -> None:
        if len(self._threads) < len(self._running):
            self._start_thread()
        self._given.put(run)

    @property
    def room(self) -> int:
        return self.slots - len(self._running)

    def wait_for_room(self, is_over: Callable[[], bool]) -> None:
        """Or until so few are left to be started that the next should be fetched meanwhile."""
        self._wait(lambda: self.room > 0 or self._is_low or is_over())

    def wait_until_idle(self, is_over: Callable[[], bool]) -> None:
        self._wait(lambda: not self._running or is_over())

    def wait_for_an_end(self, is_over: Callable[[], bool]) -> bool:
        before = self._running.copy()
        self._wait(lambda: not before or not before <= self._running or is_over())
        return bool(before)

    def _wait(self, is_over: Callable[[], bool]) -> None:
        self._is_waiting = True  # before looking: a job that ends from here on rings
        while not is_over():
            self._bell.wait(LOOK_SECONDS)
        self._is_waiting = False

    def wake(self) -> None:
        self._bell.ring()

    def end(self) -> None:
        self.wait_until_idle(self._is_hopeless)
        for run in self._running.copy():
            logger.error("Job %s (%s) does not end. It is given back.", run.job.job_id, run.job.task)
            self._outbox.add([released(run.job)])
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            thread.join(0 if self._running else None)
        self._clock.stop()

    def _is_hopeless(self) -> bool:
        since = self._interrupted_at
        return since is not None and time.monotonic() - since > ABANDON_SECONDS

    # -- from anywhere -----------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Not here, but by the clock's thread: a window has a lock, for which a signal handler must not wait."""
        if self._running and self._interrupted_at is None:
            self._interrupted_at = time.monotonic()
        self._clock.at("interrupt", 0.0, self._interrupt_all)

    def _interrupt_all(self) -> None:
        for run in self._running.copy():
            run.window.interrupt(Interrupted)

    @property
    def running(self) -> str:
        names = [run.job.task for run in self._running.copy()]
        return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else ""

    @property
    def is_in_job(self) -> bool:
        return bool(self._running)

    # -- in a thread of its own --------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        name = f"jobqueue-job-{len(self._threads) + 1}"
        # A daemon: one whose job never ends must not keep the process from ending.
        self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
        self._threads[-1].start()

    def _enter_thread(self) -> None:
        """Before its first job."""

    def _work(self) -> None:
        self._enter_thread()
        prepare_thread()
        traces = Traces()
        try:
            while (run := self._given.get()) is not None:
                following: Run | None = run
                while following is not None:
                    following = self._run_one(following)
                    traces.restore()
        finally:
            close_connections()

    def _run_one(self, run: Run) -> Run | None:
        """Run it, and take the next: handing that over would wake two threads for each job."""
        begun = time.monotonic()
        run.window = ThreadWindow()  # of this thread
        executor = self._executor_of(run)
        following: Run | None = None
        try:
            perform(partial(executor.run, *run.held), run.job, run.window, self._outbox)
        except Exception:
            logger.exception("What job %s left behind could not be cleaned up.", run.job.job_id)
        finally:
            following = self._leave(run, begun)
        return following

    def _executor_of(self, run: Run) -> Executor:
        return Executor(self._queue, run.worker, run.window, self._timeouts, self.stops, self._announcer)

    def _leave(self, run: Run, begun: float) -> Run | None:
        """It has ended, and is in the outbox. The job that comes in its place."""
        self._took.append(time.monotonic() - begun)
        if len(self._running) == 1:  # what belongs to the process, others may be using
            self._surroundings.restore(run.job.task)
        following = self._take()
        self._running.discard(run)
        if self._is_waiting and (following is None or self._runs_low()):
            self._bell.ring()
        return following

    def _take(self) -> Run | None:
        """The next job for this slot. It is noted before the last one is forgotten: there never seems to be room."""
        if self._next is None:
            return None
        next_job, worker = self._next
        held = next_job(False)
        if held is None:
            return None
        run = Run(held, worker)
        self._running.add(run)
        return run

    def _runs_low(self) -> bool:
        """Whether half a batch is left at most; says so once for each time the worker's thread has looked."""
        is_low = not self._is_low and self._pace.is_worth_it and 2 * self._outbox.unstarted <= self._pace.limit
        self._is_low = self._is_low or is_low
        return is_low
