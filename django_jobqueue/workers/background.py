"""The two threads beside the one that runs jobs: one says "alive", one stores decisions that have waited long enough.

They are apart on purpose: a flush may wait for a row lock, and a heartbeat must not wait with it.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from django.db import DatabaseError, InterfaceError

from django_jobqueue.lifecycle.vigil import LONGEST_PAUSE, rhythm
from django_jobqueue.queues.base import WorkerReport
from django_jobqueue.workers.hygiene import close_connections

JOIN_SECONDS = 10.0
"""How long to wait for a thread that is stuck in the store, before the process ends without it."""

logger = logging.getLogger("django_jobqueue.worker")

FIRST_PAUSE = 0.1
NEWS_SECONDS = 0.5
"""How late the store may hear that a worker stops, is quiet or goes on."""


class Chore(ABC, threading.Thread):
    """A daemon thread that does one thing every `interval` seconds, until it is stopped.

    Errors don't end it. After one it tries again in a tenth of a second, then ever more seldom, to two seconds: sooner
    than the next heartbeat would come, and not a hundred times a second for a flush.
    """

    def __init__(self, name: str, interval: float) -> None:
        super().__init__(name=name, daemon=True)
        self.interval = interval
        self._stopping = threading.Event()

    @abstractmethod
    def once(self) -> None: ...

    first_pause: float | None = None
    """Before the first time; None: the interval."""

    def run(self) -> None:
        pause, after_error = self.interval if self.first_pause is None else self.first_pause, FIRST_PAUSE
        try:
            while not self._stopping.wait(pause):
                if self._succeeds():
                    pause, after_error = self.interval, FIRST_PAUSE
                else:
                    pause, after_error = after_error, min(2 * after_error, LONGEST_PAUSE)
        finally:
            close_connections()

    def _succeeds(self) -> bool:
        try:
            self.once()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("%s: the store did not answer (%s); trying again.", self.name, error)
            close_connections()
        except Exception:
            logger.exception("%s failed; trying again.", self.name)
        else:
            return True
        return False

    def stop(self) -> None:
        """End the thread and wait until it has ended, but not for ever."""
        self._stopping.set()
        if self.is_alive():
            self.join(JOIN_SECONDS)


class Rhythm:
    """When to say again how a worker is: three times per lease, so that two may be lost; at once when that is news."""

    def __init__(self, lease: float) -> None:
        self.pause = rhythm(lease)
        self._said: dict[Hashable, tuple[object, float]] = {}

    def is_due(self, whose: Hashable, news: object) -> bool:
        said, again_at = self._said.get(whose, (None, 0.0))
        return news != said or time.monotonic() >= again_at

    def said(self, whose: Hashable, news: object) -> None:
        self._said[whose] = news, time.monotonic() + self.pause


class Companion(Protocol):
    """A thread that has nothing to do with jobs and lives as long as the worker: the scheduler, which this package does
    not know."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """End it, and wait for that."""


@contextmanager
def beside(companions: Sequence[Callable[[], Companion]]) -> Iterator[None]:
    """Have them live while the block runs."""
    alive = [make() for make in companions]
    for one in alive:
        one.start()
    try:
        yield
    finally:
        for one in alive:
            one.stop()


class Heartbeat(Chore):
    """Says how a worker is in the rhythm of its lease: that it is alive, and at once that it stops or is quiet."""

    def __init__(self, lease: float, report: Callable[[], WorkerReport], say: Callable[[WorkerReport], None]) -> None:
        super().__init__("jobqueue-heartbeat", min(NEWS_SECONDS, lease / 12))
        self._rhythm = Rhythm(lease)
        self._report = report
        self._say = say

    def once(self) -> None:
        report = self._report()
        if self._rhythm.is_due(None, report.state):
            self._say(report)
            self._rhythm.said(None, report.state)


class Reporter(Heartbeat):
    """Tells operators how the worker is, apart from the heartbeat: what that waits for must not end a lease."""

    first_pause = 0.0

    def __init__(self, lease: float, report: Callable[[], WorkerReport], say: Callable[[WorkerReport], None]) -> None:
        super().__init__(lease, report, say)
        self.name = "jobqueue-report"


class Flusher(Chore):
    """Sees to it that nothing waits longer than the flush time: it looks four times in it, and acts at the third."""

    def __init__(self, flush_seconds: float, flush: Callable[[float], None]) -> None:
        super().__init__("jobqueue-flush", flush_seconds / 4)
        self._flush = flush
        self._overdue = flush_seconds - self.interval

    def once(self) -> None:
        self._flush(self._overdue)


class Errand:
    """Something to be done beside the work, one at a time. An error comes out where it is waited for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None

    def begin(self, errand: Callable[[], None]) -> None:
        """Start it in its own thread; nothing when one is under way."""
        if self._under_way is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, self._name)
            self._under_way = self._pool.submit(errand)

    def wait(self) -> None:
        """Until nothing is under way. Raises what the errand raised."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def end(self) -> None:
        """Wait, and let go of the thread and its connections."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.submit(close_connections)
                self._pool.shutdown()
                self._pool = None
