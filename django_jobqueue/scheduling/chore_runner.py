"""Does the chores whose ticks a scheduler has taken, beside it: one that fails or hangs must not hold up a tick.

Each runs in a thread of this runner. One thread is kept for the next; there are more only while several chores run, or
one hangs. A chore never runs twice at a time in one process. What became of it is written to its row after it ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import F, Q, QuerySet

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.lifecycle.errors import clean, describe
from django_jobqueue.lifecycle.vigil import Vigil, clock
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.chore_rows import sync_chores
from django_jobqueue.scheduling.chores import Chore, Round, name_of_row, row_name_of
from django_jobqueue.scheduling.housekeeping import chores_of, queues_of

logger = logging.getLogger("django_jobqueue.scheduler")

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until a chore that failed is tried again, doubled with each failure; later when its next tick is."""
STOP_SECONDS = 0.5
"""How long an ending scheduler waits for its chores. They bear being stopped half way."""
HANGS_AFTER = 1.0
"""Seconds beyond its limit."""
_LONGEST_ERROR = 4_000
Task = Callable[[], object]


class Outcome(NamedTuple):
    """How a chore ended. `error` is empty when it was done; `said` is what it gave."""

    error: str = ""
    said: str = ""


class ChoreRunner:
    """The chores of one database. `start` is for one thread; it returns at once, and raises nothing."""

    def __init__(self, database: str) -> None:
        self.database = database
        self._stopping = threading.Event()
        self._hands = Hands()
        self._vigils = {queue: Vigil(queue.lease, clock()) for queue in queues_of(database)}
        self._chores = {one.name: one for one in chores_of(database)}
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        """When each chore that runs will seem to hang, on the monotonic clock; infinity when that was told."""

    def sync(self) -> None:
        """See to it that there is a row for each of them. Raises Django's database errors."""
        sync_chores(self.database, self._chores.values())

    def start(self, row_names: Iterable[str]) -> None:
        """Have these chores done, unless they are being done. What runs for too long is told of, once."""
        self._tell_of_hanging()
        for name in map(name_of_row, row_names):
            chore = self._chores.get(name)
            if chore is None:
                self._hands.give(partial(self._unknown, name))
            elif self._takes(chore) and not self._hands.give(partial(self._run, chore)):
                with self._lock:
                    del self._running[chore.name]  # the next tick tries again

    def _takes(self, chore: Chore) -> bool:
        with self._lock:
            if chore.name in self._running:
                return False
            self._running[chore.name] = time.monotonic() + chore.limit + HANGS_AFTER
            return True

    def finish(self) -> None:
        """Wait until those that run have ended, or each has had the time it may take."""
        while any(hangs_at > time.monotonic() for hangs_at in list(self._running.values()) if hangs_at != _TOLD):
            time.sleep(0.01)

    def stop(self) -> None:
        """Tell them to end, and wait a moment."""
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        while self._running and time.monotonic() < deadline:
            time.sleep(0.01)
        self._hands.let_go()

    def do_row(self, row_name: str) -> Outcome:
        """Do the chore of a row here and now, and write what became of it."""
        name = name_of_row(row_name)
        chore = self._chores.get(name)
        return self._do(chore) if chore is not None else self._unknown(name)

    def _unknown(self, name: str) -> Outcome:
        """Of another release, or of other settings."""
        outcome = Outcome(f"There is no chore {name!r} in this process.")
        self._failed(name, outcome.error)
        return outcome

    def _do(self, chore: Chore) -> Outcome:
        try:
            said = chore.work(Round(self.database, self._vigils, chore.limit, self._stopping))
        except Exception as error:
            outcome = Outcome(_in_words(error))
            if isinstance(error, STORE_ERRORS):
                logger.warning("The chore %s failed: %s", chore.name, outcome.error)
            else:
                logger.exception("The chore %s failed.", chore.name)
            self._failed(chore.name, outcome.error)
            return outcome
        if said:
            logger.info("The chore %s: %s.", chore.name, said)
        self._succeeded(chore.name)
        return Outcome(said=str(said or ""))

    def _run(self, chore: Chore) -> None:
        began = time.monotonic()
        try:
            self._do(chore)
        finally:
            with self._lock:
                hung = self._running.pop(chore.name) == _TOLD
            if hung:
                logger.warning("The chore %s has ended after %.0f s.", chore.name, time.monotonic() - began)

    def _tell_of_hanging(self) -> None:
        now = time.monotonic()
        with self._lock:
            hanging = [name for name, hangs_at in self._running.items() if hangs_at <= now]
            self._running |= dict.fromkeys(hanging, _TOLD)
        for name in hanging:
            words = "It runs for longer than its limit. Until it has ended it is not started again in this process."
            logger.error("The chore %s hangs. %s", name, words)
            self._hands.give(partial(self._failed, name, words))

    # -- its row -----------------------------------------------------------------------------------------------------

    def _row(self, name: str) -> QuerySet[RecurringJob]:
        rows = RecurringJob._default_manager.using(self.database)
        return rows.filter(name=row_name_of(name), source=RecurringJob.Source.CHORE)

    def _succeeded(self, name: str) -> None:
        """Written only when it says something new: a round that found nothing to do writes nothing."""
        try:
            troubled = self._row(name).filter(Q(failures__gt=0) | ~Q(last_error=""))
            if troubled.exists():
                troubled.update(failures=0, last_error="")
        except (DatabaseError, InterfaceError) as error:
            self._not_written(name, error)

    def _failed(self, name: str, words: str) -> None:
        try:
            self._row(name).update(failures=F("failures") + 1, last_error=clean(words, _LONGEST_ERROR))
            failures = self._row(name).values_list("failures", flat=True).first() or 1
            pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE)
            later = as_django_tells_it(schedule_table(self.database).now() + timedelta(seconds=pause))
            self._row(name).filter(due_at__lt=later).update(due_at=later)
        except (DatabaseError, InterfaceError) as error:
            self._not_written(name, error)

    def _not_written(self, name: str, error: Exception) -> None:
        logger.warning("What became of the chore %s could not be written (%s).", name, error)
        connections[self.database].close()


_TOLD = float("inf")


def _in_words(error: Exception) -> str:
    found = describe(error)
    return f"{found.class_path.rpartition('.')[2]}: {found.message}".rstrip(": ")


class Hands:
    """Threads that do what they are given. Each call of `give` finds one that is free, or makes one; one is kept.

    They are daemons: one that hangs must not keep the process.
    """

    def __init__(self) -> None:
        self._todo: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0
        self._is_over = False

    def give(self, task: Task) -> bool:
        """False: it is not done, because no thread can be started now."""
        with self._lock:
            if self._free:
                self._free -= 1
            else:
                try:
                    threading.Thread(target=self._work, name="jobqueue-chores", daemon=True).start()
                except RuntimeError as error:
                    logger.error("There is no thread for a chore (%s).", error)
                    return False
        self._todo.put(task)
        return True

    def let_go(self) -> None:
        """Have them end: the free one now, the others when they are done."""
        with self._lock:
            self._is_over = True
            free, self._free = self._free, 0
        for _ in range(free):
            self._todo.put(None)

    def _work(self) -> None:
        try:
            while (task := self._todo.get()) is not None:
                task()
                if not _is_clean():
                    return
                with self._lock:
                    if self._free or self._is_over:
                        return
                    self._free += 1
        finally:
            connections.close_all()


def _is_clean() -> bool:
    """Whether the next chore can use this thread's connections. They are kept, also where a request's would not be."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            return False
        if connection.errors_occurred:
            connection.close()
    return True
