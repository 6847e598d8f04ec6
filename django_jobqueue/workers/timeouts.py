"""The deadlines of the jobs that run: a soft one, at which `JobTimeout` is raised in the job, and a hard one behind it.

The hard one is only published: whoever watches this process kills it when the job goes on after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from uuid import UUID

from django_jobqueue.conf import conf
from django_jobqueue.exceptions import JobCancelled, JobTimeout
from django_jobqueue.queues.base import Reservation
from django_jobqueue.workers.alarm import Alarm, Clock
from django_jobqueue.workers.board import Deadline, Watch, unwatched
from django_jobqueue.workers.interruption import JobWindow

_SOON = 0.01
_SPARE = 64


class Timeouts:
    """Sees to the timeouts of the jobs of one worker, several at once. A job without one never comes here."""

    def __init__(self, clock: Clock, watch: Watch = unwatched) -> None:
        self._clock = clock
        self._watch = watch
        self._lock = threading.Lock()
        self._hard: dict[Hashable, Deadline] = {}
        self._line: list[tuple[float, int, Hashable, Deadline]] = []
        """A heap: the earliest is found without a look at all. What is not in `_hard` any more may still be in it."""
        self._numbers = count()
        self._published: Deadline | None = None

    def begin(self, job: Reservation, soft: float, window: JobWindow) -> None:
        """`soft` is when its time is up, on the monotonic clock. Of one that is to stop already it stays so."""
        run = _run(job)
        with self._lock:
            if run in self._hard:
                return
            self._set(run, _hard(job, soft))
        self._clock.at(run, soft, partial(self._time_is_up, run, window, JobTimeout))

    @contextmanager
    def hold_to(self, job: Reservation, soft: float) -> Iterator[None]:
        """Nothing is raised inside; but its process is killed when all of it goes on for that long and longer."""
        name = "held", *_run(job)
        with self._lock:
            self._set(name, _hard(job, soft))
        try:
            yield
        finally:
            with self._lock:
                del self._hard[name]
                self._publish()

    def stop(self, job: Reservation, window: JobWindow) -> None:
        """Stop a running job by force, from any thread: `JobCancelled` is raised in it, and its process killed later.

        `end` follows as after `begin`.
        """
        run, now = _run(job), time.monotonic()
        with self._lock:
            self._set(run, _hard(job, now))
        self._clock.at(run, now, partial(self._time_is_up, run, window, JobCancelled))

    def end(self, job: Reservation) -> None:
        run = _run(job)
        self._clock.cancel(run)
        with self._lock:
            self._hard.pop(run, None)
            self._publish()

    def _time_is_up(self, run: Hashable, window: JobWindow, cause: type[BaseException]) -> None:
        """Again after a while: a job may swallow what is raised in it, or stand at the door of its window just now."""
        if run not in self._hard:
            return
        pause = conf().KILL_AFTER if window.is_open else _SOON
        self._clock.at(run, time.monotonic() + pause, partial(self._time_is_up, run, window, cause))
        window.interrupt(cause)

    def _set(self, name: Hashable, deadline: Deadline) -> None:
        self._hard[name] = deadline
        heappush(self._line, (deadline.at, next(self._numbers), name, deadline))
        if len(self._line) > 2 * len(self._hard) + _SPARE:
            self._line = [one for one in self._line if self._hard.get(one[2]) is one[3]]
            heapify(self._line)
        self._publish()

    def _publish(self) -> None:
        while self._line and self._hard.get(self._line[0][2]) is not self._line[0][3]:
            heappop(self._line)
        earliest = self._line[0][3] if self._line else None
        if earliest != self._published:
            self._published = earliest
            self._watch(earliest)


def _run(job: Reservation) -> tuple[UUID, int]:
    """A job that was lost may run here a second time while the first run goes on: the lease number tells them apart."""
    return job.job_id, job.lease_no


def _hard(job: Reservation, soft: float) -> Deadline:
    return Deadline(soft + conf().KILL_AFTER, job.job_id, job.lease_no)


def complete(error: JobTimeout, timeout: float) -> None:
    """Say how much time there was, and end the traceback where the job was: the signal handler says nothing of it."""
    error.args = (f"it ran longer than its timeout of {timeout:g} s",)
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        if at.tb_next.tb_frame.f_code is Alarm.RINGS:
            at.tb_next = None
        at = at.tb_next
