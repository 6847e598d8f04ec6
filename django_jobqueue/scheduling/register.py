"""The schedulers that are alive, where operators look: rows of `worker_processes`, of a store that no alias can name.

Nothing depends on them: a scheduler whose row could not be written ticks all the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models import QuerySet

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.version import __version__

STORE = "→scheduler"
"""Every query for workers names a store, so none of them takes a scheduler for one."""
BEAT_SECONDS = 10.0
LEASE = timedelta(seconds=30)
FORGOTTEN = timedelta(days=1)
_ALIVE = (WorkerProcess.State.RUNNING, WorkerProcess.State.STOPPING)


class Register:
    """One scheduler's row. Raises Django's database errors."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._id = uuid7()
        self._is_new = True
        self._known: set[UUID] = set()

    def beat(self, dispatched: int, failed: int) -> None:
        """Say that this scheduler lives, and how much it has done; bury those that have been silent."""
        now = schedule_table(self._database).now()
        times = {"heartbeat_at": as_django_tells_it(now), "expires_at": as_django_tells_it(now + LEASE)}
        values = {"state": WorkerProcess.State.RUNNING, "completed": dispatched, "failed": failed, **times}
        is_new, self._is_new = self._is_new, False
        if is_new or not _rows(self._database).filter(pk=self._id).update(**values):
            host = socket.gethostname()
            who = {"name": f"{host}:{os.getpid()}"[:200], "host": host[:100], "pid": os.getpid()}
            started = {"id": self._id, "store": STORE, "version": __version__, "started_at": as_django_tells_it(now)}
            _rows(self._database).create(**values, **who, **started)
        silent = _rows(self._database).filter(state__in=_ALIVE, expires_at__lt=as_django_tells_it(now))
        forgotten = _rows(self._database).filter(expires_at__lt=as_django_tells_it(now - FORGOTTEN))
        if silent.exists():  # SQLite has one lock for all: it is not taken to write nothing
            silent.update(state=WorkerProcess.State.DEAD)
        if forgotten.exists():
            forgotten.delete()

    def inherits(self) -> bool:
        """Whether a scheduler has gone since the last call, and of those that are left this one was started last.

        In a deploy, then, the code that stays has the last word, and not the old one that was started once more.
        """
        alive_now = [row.pk for row in alive(self._database)]
        gone, self._known = self._known.difference(alive_now), set(alive_now)
        return bool(gone) and alive_now[-1:] == [self._id]

    def leave(self) -> None:
        _rows(self._database).filter(pk=self._id).update(state=WorkerProcess.State.STOPPED)


def alive(database: str) -> Sequence[WorkerProcess]:
    """The schedulers in `database` that have been heard of lately, the longest at work first."""
    now = as_django_tells_it(schedule_table(database).now())
    return list(_rows(database).filter(state__in=_ALIVE, expires_at__gte=now).order_by("started_at", "pk"))


def _rows(database: str) -> QuerySet[WorkerProcess]:
    return WorkerProcess._default_manager.using(database).filter(store=STORE)
