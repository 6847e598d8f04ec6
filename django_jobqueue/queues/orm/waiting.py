"""How an idle worker waits for work: a wake-up channel where the database has one, and looking again behind it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Any

from django.db import connections

from django_jobqueue.conf import conf
from django_jobqueue.queues.bell import Bell
from django_jobqueue.queues.orm.notify import QUIET_SECONDS, Listener

logger = logging.getLogger("django_jobqueue.queues")

STEP_SECONDS = 0.2
"""The longest a waiter sleeps without asking whether it was told to stop."""


class Waiter:
    """Sleeps. `poll_seconds` is how soon it says "look again" where nothing can wake it."""

    poll_seconds = 0.1

    def __init__(self, database: str, bell: Bell) -> None:
        self.database = database
        self._bell = bell

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """True when something may have happened before the timeout."""
        return self._bell.wait(0) or self._wait(frozenset(queues), timeout)

    def take_word(self, queues: Sequence[str]) -> Sequence[str]:
        """Where a job is, as the last wait was told, for one who serves these queues; empty: look. Says so once."""
        return ()

    def _wait(self, queues: frozenset[str], timeout: float) -> bool:
        # Jitter, so that many idle workers don't ask at the same moment.
        rest = min(timeout, self.poll_seconds * random.uniform(0.75, 1.25))  # noqa: S311
        self._bell.wait(rest)
        return True

    def close(self) -> None:
        """Let go of a connection of its own, if it has one."""


class DataVersionWaiter(Waiter):
    """SQLite: `PRAGMA data_version` changes when another connection commits, and costs two microseconds to ask."""

    ask_seconds = 0.005

    def __init__(self, database: str, bell: Bell) -> None:
        super().__init__(database, bell)
        self._seen: tuple[int, int] | None = None

    def _wait(self, queues: frozenset[str], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            version = self._version()
            if version != self._seen:
                self._seen = version
                return True
            if self._bell.wait(self.ask_seconds):
                return True
        return False

    def _version(self) -> tuple[int, int]:
        connection = connections[self.database]
        connection.ensure_connection()
        raw = connection.connection
        with connection.wrap_database_errors:  # without WAL, asking may meet a writer's lock
            return id(raw), int(raw.execute("PRAGMA data_version").fetchone()[0])


class NotifyWaiter(Waiter):
    """PostgreSQL: LISTEN on a connection of its own; while that can't be had, polling."""

    retry_seconds = 5.0
    quiet_seconds = QUIET_SECONDS + 0.005

    def __init__(self, database: str, bell: Bell) -> None:
        super().__init__(database, bell)
        self._listener: Any = None
        self._retry_at = 0.0
        self._look_again = False
        self._heard: set[str] = set()
        self._was_taken = False

    def take_word(self, queues: Sequence[str]) -> Sequence[str]:
        """Who serves all queues goes to the one that was named; not twice in turn, or it could forget the others."""
        heard, self._heard = self._heard, set()
        if queues:
            return queues if heard and len(queues) == 1 else ()
        self._was_taken = len(heard) == 1 and "" not in heard and not self._was_taken
        return tuple(heard) if self._was_taken else ()

    def _wait(self, queues: frozenset[str], timeout: float) -> bool:
        if not conf().NOTIFY:
            return super()._wait(queues, timeout)
        if self._listener is None:  # what was announced until it listens, nobody heard: look first
            return self._listen() or super()._wait(queues, timeout)
        try:
            return self._hear(queues, timeout)
        except Exception as error:  # a wake-up channel that is cut off must never stop a worker
            logger.warning("The LISTEN connection to %r was lost (%s); polling until it is back.", self.database, error)
            self.close()
            return True

    def _hear(self, queues: frozenset[str], timeout: float) -> bool:
        # Whoever was woken and found the job taken looks once more, for the pushes that followed without a word.
        again, self._look_again = self._look_again, False
        deadline = time.monotonic() + (min(timeout, self.quiet_seconds) if again else timeout)
        while (left := deadline - time.monotonic()) > 0:
            if heard := self._listener.wait(queues, min(left, STEP_SECONDS)):
                self._look_again, self._heard = True, heard
                return True
            if self._bell.wait(0):
                return True
        return again

    def _listen(self) -> bool:
        if time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + self.retry_seconds
            try:
                self._listener = Listener(connections[self.database])
            except Exception as error:
                logger.warning("Can't LISTEN on %r (%s); polling.", self.database, error)
        return self._listener is not None

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None


_WAITERS = {"sqlite": DataVersionWaiter, "postgresql": NotifyWaiter}


def waiter_for(database: str, bell: Bell) -> Waiter:
    """The waiter for what kind of database this alias is."""
    return _WAITERS.get(connections[database].vendor, Waiter)(database, bell)
