"""Jobs that were asked to stop, as the process that runs them sees it: it looks, tells them, stops them by force."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.queues.base import Reservation
from django_jobqueue.workers.background import Chore
from django_jobqueue.workers.interruption import JobWindow
from django_jobqueue.workers.timeouts import Timeouts

LOOK_SECONDS = 1.0
"""How often the store is asked, and how long a job must have run for it: short jobs cost the store nothing."""


class Running(NamedTuple):
    job: Reservation
    window: JobWindow
    timeouts: Timeouts | None
    begun: float


class Stops:
    """The jobs that run in this process, and which of them should stop. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[UUID, Running] = {}
        self._asked: frozenset[UUID] = frozenset()
        self._killed: set[UUID] = set()
        self.are_lost: Callable[[], bool] = lambda: False
        """Whether the worker was declared dead: then its jobs are somebody else's."""

    def begin(self, job: Reservation, window: JobWindow, timeouts: Timeouts | None) -> None:
        with self._lock:
            self._running[job.job_id] = Running(job, window, timeouts, time.monotonic())

    def end(self, job: Reservation) -> None:
        """Its window is shut. From here on nothing rings for it any more, in whatever runs in its place."""
        with self._lock:
            running = self._running.pop(job.job_id, None)
            if job.job_id in self._killed:
                self._killed.discard(job.job_id)
                if running is not None and running.timeouts is not None:
                    running.timeouts.end(job)

    def is_asked(self, job_id: UUID) -> bool:
        return job_id in self._asked or self.are_lost()

    def is_told(self, job_id: UUID) -> bool:
        """Whether the store says so; it makes the job's end a cancellation."""
        return job_id in self._asked

    def is_worth_a_look(self) -> bool:
        long_ago = time.monotonic() - LOOK_SECONDS
        return any(one.begun < long_ago for one in self._running.copy().values())

    def hear(self, told: Mapping[UUID, bool]) -> bool:
        """What the store says: jobs, and whether they are to be killed. Whether there are some that don't run here."""
        self._asked = frozenset(told)
        with self._lock:
            for job_id, kill in told.items():
                running = self._running.get(job_id)
                if kill and running is not None and running.timeouts is not None and job_id not in self._killed:
                    self._killed.add(job_id)
                    running.timeouts.stop(running.job, running.window)
            return not told.keys() <= self._running.keys()


class Lookout(Chore):
    """Looks for requests while a job runs for long."""

    first_pause = LOOK_SECONDS

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__("jobqueue-lookout", LOOK_SECONDS)
        self._look = look

    def once(self) -> None:
        self._look()
