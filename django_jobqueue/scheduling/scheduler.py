"""The scheduler of one database: sleeps until something is due, ticks, and sleeps again.

Any number of them may run, here and on other hosts; none of them leads. It reads no clock but the store's, so a host
whose own is wrong is no worse than another. An edit is heard of by looking: the next due moment is asked for twice a
second, which is one entry of an index, however many schedules there are.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Protocol

from django.db import DatabaseError, Error, InterfaceError, OperationalError, ProgrammingError, connections

from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.queues.bell import Bell
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.breaker import Breaker
from django_jobqueue.scheduling.mending import LIMIT, mend
from django_jobqueue.scheduling.register import BEAT_SECONDS, Register
from django_jobqueue.scheduling.sync import sync
from django_jobqueue.scheduling.tick import tick

logger = logging.getLogger("django_jobqueue.scheduler")

LOOK_SECONDS = 0.5
"""The longest sleep."""
BUSY_SECONDS = 0.05
"""And the sleep when another scheduler has taken what is due."""
MEND_SECONDS = 60.0
SYNC_AGAIN_SECONDS = 60.0
"""After an attempt to bring the declared schedules to the tables that failed for another reason than an outage."""
JOIN_SECONDS = 10.0


class Chores(Protocol):
    """What runs the scheduler's own work, in threads of its own. `start` and `stop` return at once and never raise."""

    def sync(self) -> None:
        """Make their rows. Raises Django's database errors."""

    def start(self, names: list[str]) -> None: ...

    def stop(self) -> None: ...

    def finish(self) -> None:
        """Wait for those that run."""


class Scheduler:
    """Serves the schedules in `database` until it is stopped. An outage is waited for, whenever it comes."""

    def __init__(self, database: str, chores: Chores | None = None) -> None:
        self.database = database
        self.dispatched = self.failed = 0
        self._chores = chores
        self._table = schedule_table(database)
        self._register = Register(database)
        self._breaker = Breaker()
        self._bell = Bell()
        self._is_stopped = False
        self._next_beat = self._next_mend = self._sync_at = 0.0

    def run(self) -> None:
        try:
            while not self._is_stopped:
                self._bell.wait(self.once())
        finally:
            if self._chores is not None:
                self._chores.stop()
            self._leave()

    def stop(self) -> None:
        """From any thread, and from a signal handler. What is being pushed is finished."""
        self._is_stopped = True
        self._bell.ring()

    def once(self) -> float:
        """Do what is due, and give the seconds until there may be more. Never raises for a store that is away."""
        try:
            pause = self._work()
        except (DatabaseError, InterfaceError, EnqueueError) as error:
            return self._excuse(error)
        except Exception:  # a bug must not end it: the schedules of a whole project hang on this loop
            logger.exception("A tick in %r failed; trying again.", self.database)
            return self._excuse(None)
        if failures := self._breaker.succeeded():
            logger.info("The schedules in %r are served again, after %d attempts.", self.database, failures)
        return pause

    def drain(self) -> None:
        """Do what is due now, and no more. Raises Django's database errors."""
        self._sync()
        while not self._is_stopped and self._dispatch():
            pass
        if self._chores is not None:
            self._chores.finish()

    def _work(self) -> float:
        if time.monotonic() >= self._sync_at:
            self._sync()
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + BEAT_SECONDS
            self._beat()
        if time.monotonic() >= self._next_mend:
            self._mend()
        due_in = self._table.seconds_to_next_due()
        if due_in is None or due_in > 0:
            return LOOK_SECONDS if due_in is None else min(LOOK_SECONDS, due_in)
        return 0.0 if self._dispatch() else BUSY_SECONDS

    def _sync(self) -> None:
        """What is wrong with a declaration must not keep the others, and what is in the tables, from running."""
        try:
            sync(self.database)
            if self._chores is not None:
                self._chores.sync()
        except (OperationalError, InterfaceError, ProgrammingError):  # away, or its tables are not made yet
            raise
        except Exception:
            logger.exception("The declared schedules could not be brought to %r; trying again.", self.database)
            self._sync_at = time.monotonic() + SYNC_AGAIN_SECONDS
            return
        self._sync_at = float("inf")

    def _beat(self) -> None:
        try:
            self._register.beat(self.dispatched, self.failed)
            if self._register.inherits():
                self._sync_at = 0.0
        except Exception as error:  # an outage is seen by the tick
            logger.warning("The scheduler of %r could not say that it is alive: %s", self.database, error)

    def _mend(self) -> None:
        """The next attempt is planned first: whatever is in a row, ticks must come between two of them."""
        self._next_mend = time.monotonic() + MEND_SECONDS
        if mend(self.database) == LIMIT:
            self._next_mend = 0.0

    def _dispatch(self) -> bool:
        """One transaction. Whether anything was done."""
        done = tick(self.database)
        self.dispatched += sum(one.outcome == "dispatched" for one in done.outcomes)
        self.failed += sum(one.outcome == "failed" for one in done.outcomes)
        if done.chores and self._chores is not None:
            self._chores.start(done.chores)
        return bool(done.outcomes or done.chores or done.more)

    def _excuse(self, error: Exception | None) -> float:
        if error is not None:
            say = logger.debug if self._breaker.is_open else logger.warning  # once, not for each attempt
            say("The schedules in %r can't be served (%s); trying again.", self.database, error)
        self._close()
        return self._breaker.failed()

    def _leave(self) -> None:
        with suppress(DatabaseError, InterfaceError):
            self._register.leave()
        self._close()

    def _close(self) -> None:
        """A connection may be broken without knowing it."""
        with suppress(Error):
            connections[self.database].close()


class SchedulerThread(threading.Thread):
    """A scheduler beside a worker."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(name=f"jobqueue-scheduler-{scheduler.database}", daemon=True)
        self._scheduler = scheduler

    def run(self) -> None:
        try:
            self._scheduler.run()
        finally:
            connections.close_all()

    def stop(self) -> None:
        self._scheduler.stop()
        if self.is_alive():
            self.join(JOIN_SECONDS)
