"""The workers of a Redis store, as operators see them: rows of `worker_processes`. Redis alone decides who is alive."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import QuerySet
from django.utils import timezone

from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import WorkerIdentity, WorkerReport

logger = logging.getLogger("django_jobqueue.queues")


class Register:
    """Keeps the rows of one store. A database that does not answer costs a worker its row, never a job."""

    def __init__(self, database: str, store: str, lease: float) -> None:
        self._database = database
        self._store = store
        self._lease = timedelta(seconds=lease)
        self._mine: dict[UUID, WorkerIdentity] = {}

    def join(self, worker: WorkerIdentity) -> None:
        """Remember who it is; its row is written with its first report."""
        self._mine[worker.id] = worker

    def report(self, worker: UUID, report: WorkerReport) -> None:
        """Redis decides who is alive: one that was late is shown again. One that has left is not."""
        now = timezone.now()
        values = {
            "heartbeat_at": now,
            "expires_at": now + self._lease,
            "state": report.state,
            "running": report.running,
            "completed": report.completed,
            "failed": report.failed,
            "rss_kb": report.rss_kb,
        }
        try:
            known = self._rows().filter(id=worker).exclude(state=WorkerProcess.State.STOPPED)
            if not known.update(**values) and worker in self._mine:
                self._create(self._mine[worker], values)
        except (DatabaseError, InterfaceError) as error:
            self._excuse(error)

    def leave(self, worker: UUID) -> None:
        self._mine.pop(worker, None)
        try:
            self._rows().filter(id=worker).update(
                state=WorkerProcess.State.STOPPED, heartbeat_at=timezone.now(), running=""
            )
        except (DatabaseError, InterfaceError) as error:
            self._excuse(error)

    def bury(self, worker: UUID) -> None:
        """Mark one as dead that was seen to die."""
        self._mine.pop(worker, None)
        try:
            self._rows().filter(id=worker, state__in=WorkerProcess.ALIVE).update(state=WorkerProcess.State.DEAD)
        except (DatabaseError, InterfaceError) as error:
            self._excuse(error)

    def bury_silent(self) -> None:
        """Mark as dead whose lease has ended."""
        try:
            silent = self._rows().filter(
                store=self._store, state__in=WorkerProcess.ALIVE, expires_at__lt=timezone.now()
            )
            silent.update(state=WorkerProcess.State.DEAD)
        except (DatabaseError, InterfaceError) as error:
            self._excuse(error)

    def _create(self, worker: WorkerIdentity, values: dict[str, Any]) -> None:
        self._rows().create(
            id=worker.id,
            name=worker.name[:200],
            host=worker.host[:100],
            pid=worker.pid,
            queues=",".join(worker.queues),
            version=worker.version,
            store=self._store,
            started_at=values["heartbeat_at"],
            **values,
        )

    def _rows(self) -> QuerySet[WorkerProcess]:
        return WorkerProcess._default_manager.using(self._database)

    def _excuse(self, error: Exception) -> None:
        if not connections[self._database].in_atomic_block:  # nobody else may close this thread's connection
            connections[self._database].close_if_unusable_or_obsolete()
        logger.warning("The worker's row in %r could not be written (%s).", self._database, error)
