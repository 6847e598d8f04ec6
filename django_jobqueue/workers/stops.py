"""Jobs that were asked to stop, as the process that runs them sees it: it looks, tells them, stops them by force."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from uuid import UUID

from django_jobqueue.queues.base import Reservation
from django_jobqueue.workers.background import Chore
from django_jobqueue.workers.interruption import JobWindow
from django_jobqueue.workers.timeouts import Timeouts

LOOK_SECONDS = 1.0
"""How often the store is asked, and how long a job must have run for it: short jobs cost the store nothing."""


class Running:
    """A job that runs here. By itself, not by its id, it is found at no cost at the end."""

    __slots__ = ("begun", "is_killed", "job", "timeouts", "window")

    def __init__(self, job: Reservation, window: JobWindow, timeouts: Timeouts | None) -> None:
        self.job = job
        self.window = window
        self.timeouts = timeouts
        self.begun = time.monotonic()
        self.is_killed = False


class Stops:
    """The jobs that run in this process, and which of them should stop. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Running] = set()
        self._asked: frozenset[UUID] = frozenset()
        self.are_lost: Callable[[], bool] = lambda: False
        """Whether the worker was declared dead: then its jobs are somebody else's."""

    def begin(self, running: Running) -> None:
        with self._lock:
            self._running.add(running)

    def end(self, running: Running) -> None:
        """Its window is shut. From here on nothing rings for it any more, in whatever runs in its place."""
        with self._lock:
            self._running.discard(running)
            if running.is_killed and running.timeouts is not None:
                running.timeouts.end(running.job)

    def is_asked(self, job_id: UUID) -> bool:
        return job_id in self._asked or self.are_lost()

    def is_told(self, job_id: UUID) -> bool:
        """Whether the store says so; it makes the job's end a cancellation."""
        return job_id in self._asked

    def is_worth_a_look(self) -> bool:
        long_ago = time.monotonic() - LOOK_SECONDS
        return any(one.begun < long_ago for one in self._running.copy())

    def hear(self, told: Mapping[UUID, bool]) -> bool:
        """What the store says: jobs, and whether they are to be killed. Whether there are some that don't run here."""
        self._asked = frozenset(told)
        with self._lock:
            for running in self._running:
                if told.get(running.job.job_id) and running.timeouts is not None and not running.is_killed:
                    running.is_killed = True
                    running.timeouts.stop(running.job, running.window)
            return not told.keys() <= {running.job.job_id for running in self._running}


class Lookout(Chore):
    """Looks for requests while a job runs for long."""

    first_pause = LOOK_SECONDS

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__("jobqueue-lookout", LOOK_SECONDS)
        self._look = look

    def once(self) -> None:
        self._look()
