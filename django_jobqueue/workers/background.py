"""The two threads beside the one that runs jobs: one says "alive", one stores decisions that have waited long enough.

They are apart on purpose: a flush may wait for a row lock, and a heartbeat must not wait with it.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError

from django_jobqueue.workers.hygiene import close_connections

logger = logging.getLogger("django_jobqueue.worker")


class Chore(ABC, threading.Thread):
    """A daemon thread that does one thing every `interval` seconds, until it is stopped. Database errors don't end it."""

    def __init__(self, name: str, interval: float) -> None:
        super().__init__(name=name, daemon=True)
        self.interval = interval
        self._stopping = threading.Event()

    @abstractmethod
    def once(self) -> None: ...

    def run(self) -> None:
        try:
            while not self._stopping.wait(self.interval):
                self._once_safely()
        finally:
            close_connections()

    def _once_safely(self) -> None:
        try:
            self.once()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("%s: the store did not answer (%s); trying again.", self.name, error)
            close_connections()
        except Exception:
            logger.exception("%s failed; trying again.", self.name)

    def stop(self) -> None:
        """End the thread and wait until it has ended."""
        self._stopping.set()
        if self.is_alive():
            self.join()


class Heartbeat(Chore):
    """Three heartbeats per lease, so that two may be lost. Calls `on_death` when the store says the worker is dead."""

    def __init__(self, lease: float, beat: Callable[[], bool], on_death: Callable[[], None]) -> None:
        super().__init__("jobqueue-heartbeat", min(10.0, lease / 3))
        self._beat = beat
        self._on_death = on_death

    def once(self) -> None:
        if not self._beat():
            self._on_death()


class Flusher(Chore):
    """Looks a few times within the flush time whether something has waited long enough."""

    def __init__(self, flush_seconds: float, flush: Callable[[], None]) -> None:
        super().__init__("jobqueue-flush", flush_seconds / 2)
        self._flush = flush

    def once(self) -> None:
        self._flush()
