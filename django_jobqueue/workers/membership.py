"""The worker's entry in the store: joined, kept alive by heartbeats, begun anew when it can't be trusted, and left."""

from __future__ import annotations

import logging
import os
import socket
import time
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from django_jobqueue.queues.base import Queue, WorkerIdentity, WorkerReport
from django_jobqueue.version import __version__

logger = logging.getLogger("django_jobqueue.worker")


class Membership:
    """Who this worker is in the store. `beat` is for any thread, the rest for the one that runs jobs."""

    def __init__(self, queue: Queue, queues: tuple[str, ...]) -> None:
        self.queue = queue
        self.identity = _identity(queues)
        self._alive_until = 0.0
        self._dead: UUID | None = None

    def join(self) -> None:
        try:
            self._join(self.identity)
        except Exception:
            self.identity = _identity(self.identity.queues)  # the store may have heard of this one all the same
            raise
        queues = ", ".join(self.identity.queues) or "all queues"
        logger.info("Worker %s started on %s.", self.identity.name, queues)

    def _join(self, identity: WorkerIdentity) -> None:
        asked = time.monotonic()
        self.queue.join(identity)
        self._alive_until = asked + self.queue.lease

    def beat(self, report: WorkerReport) -> None:
        asked, identity = time.monotonic(), self.identity
        if self.queue.heartbeat(identity.id, report):
            self._alive_until = asked + self.queue.lease
        else:
            self._dead = identity.id

    @property
    def is_dead(self) -> bool:
        """Declared dead by the store: what it held is reclaimed, and it gets no more."""
        return self._dead == self.identity.id

    def is_sure(self) -> bool:
        """Whether the last heartbeat is younger than the lease. After a freeze it is not: others may run our jobs."""
        return time.monotonic() < self._alive_until

    def start_anew(self) -> None:
        """Under a new identity. What the old one still holds goes back: it may have claimed what it never heard of."""
        fresh = _identity(self.identity.queues)
        self.queue.leave(self.identity.id)
        self._join(fresh)
        self.identity = fresh

    def leave(self) -> None:
        try:
            self.queue.leave(self.identity.id)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Could not sign off (%s); the lease ends by itself.", error)


def _identity(queues: tuple[str, ...]) -> WorkerIdentity:
    host, pid = socket.gethostname(), os.getpid()
    return WorkerIdentity(name=f"{host}:{pid}", host=host, pid=pid, queues=queues, version=__version__)
