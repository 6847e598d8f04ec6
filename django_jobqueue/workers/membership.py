"""The worker's entry in the store: joined, kept alive by heartbeats, begun anew when it can't be trusted, and left."""

from __future__ import annotations

import logging
import os
import socket
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from django_jobqueue.lifecycle.vigil import Vigil, clock
from django_jobqueue.queues.base import Queue, WorkerIdentity, WorkerReport
from django_jobqueue.version import __version__
from django_jobqueue.workers.board import Seat
from django_jobqueue.workers.tokens import admit

logger = logging.getLogger("django_jobqueue.worker")


class Membership:
    """Who this worker is in the store. `beat` is for any thread, the rest for the one that runs jobs."""

    def __init__(self, queue: Queue, queues: tuple[str, ...], name: str = "") -> None:
        self.queue = queue
        self._name = name
        self.identity = self._new_identity(queues)
        self._alive_until = 0.0
        self._dead: UUID | None = None
        self._vigil = Vigil(queue.lease, clock())

    def join(self) -> None:
        try:
            self._join(self.identity)
        except Exception:
            self.identity = self._new_identity(
                self.identity.queues
            )  # the store may have heard of this one all the same
            raise
        queues = ", ".join(self.identity.queues) or "all queues"
        logger.info("Worker %s started on %s.", self.identity.name, queues)

    def _join(self, identity: WorkerIdentity) -> None:
        admit(identity.queues)
        asked = clock()
        self.queue.join(identity)
        self._alive_until = asked + self.queue.lease

    def keep_alive(self, report: WorkerReport) -> None:
        """From time to time: the next heartbeat, if nobody else sends it."""
        self.beat(report)

    def beat(self, report: WorkerReport) -> None:
        """Ask the store now."""
        asked, identity = clock(), self.identity
        is_alive = self.queue.heartbeat(identity.id, report)
        self._vigil.answered(clock())
        if is_alive:
            self._alive_until = asked + self.queue.lease
        else:
            self._dead = identity.id

    @property
    def is_dead(self) -> bool:
        """Declared dead by the store: what it held is reclaimed, and it gets no more."""
        return self._dead == self.identity.id

    def is_sure(self) -> bool:
        """Whether the last heartbeat is younger than the lease. After a freeze it is not: others may run our jobs."""
        return clock() < self._alive_until

    is_reclaimed_for = False
    """Whether somebody else of this command takes back what the dead have left."""

    @property
    def may_tell_who_is_silent(self) -> bool:
        """Not after a freeze or an outage, before all who live had time to be heard."""
        return self._vigil.may_tell(clock())

    def start_anew(self) -> None:
        """Under a new identity. What the old one still holds goes back: it may have claimed what it never heard of."""
        fresh = self._new_identity(self.identity.queues)
        self.queue.leave(self.identity.id)
        self._join(fresh)
        self.identity = fresh

    def finishing(self) -> None:
        """No job runs any more; what was decided is still to be stored."""

    def leave(self) -> bool:
        """Sign off. False when the store does not answer: then the lease ends by itself."""
        try:
            self.queue.leave(self.identity.id)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Could not sign off (%s); the lease ends by itself.", error)
            return False
        return True

    def _new_identity(self, queues: tuple[str, ...]) -> WorkerIdentity:
        host, pid = socket.gethostname(), os.getpid()
        name = self._name or f"{host}:{pid}"
        return WorkerIdentity(name=name, host=host, pid=pid, queues=queues, version=__version__)


class SeatedMembership(Membership):
    """Of a child: the heart sends its heartbeats. When that falls silent, it sends its own before the lease ends."""

    def __init__(self, queue: Queue, queues: tuple[str, ...], seat: Seat) -> None:
        super().__init__(queue, queues, seat.name)
        self._seat = seat

    is_reclaimed_for = True

    @property
    def may_tell_who_is_silent(self) -> bool:
        """Its heart has the vigil. A child that drains must not wait: after a freeze it makes sure of itself first."""
        return self.is_sure()

    def _join(self, identity: WorkerIdentity) -> None:
        super()._join(identity)
        self._seat.join(identity.id)

    def keep_alive(self, report: WorkerReport) -> None:
        # A heart at work leaves never less than two thirds, less what the store takes to answer.
        silent = max(self._alive_until, self._seat.slot.alive_until) - clock() < _SILENCE * self.queue.lease
        if silent or self._seat.is_orphan:
            self.beat(report)

    @property
    def is_dead(self) -> bool:
        return super().is_dead or self._seat.slot.dead == self.identity.id

    def is_sure(self) -> bool:
        return clock() < self._seat.slot.alive_until or super().is_sure()

    def finishing(self) -> None:
        self._seat.finishing()

    def leave(self) -> bool:
        has_left = super().leave()
        if has_left:  # else the heart may have more luck
            self._seat.leave()
        return has_left


_SILENCE = 0.55
"""Of a lease. It is looked at three times per lease, so a child steps in when a fifth of it is left."""
