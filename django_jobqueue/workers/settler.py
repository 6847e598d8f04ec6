"""Makes decisions true in the store, whatever the store says to that."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError

from django_jobqueue.queues.base import ErrorRecord, Exchange, Move, Queue, Settlement
from django_jobqueue.workers.order import QueueOrder
from django_jobqueue.workers.outbox import Outbox

logger = logging.getLogger("django_jobqueue.worker")


class Counters:
    """What a worker has done so far. `lost`: settlements that came after the lease was lost, and changed nothing."""

    def __init__(self) -> None:
        self.by_move: dict[Move, int] = dict.fromkeys(Move, 0)
        self.lost = 0

    def count(self, settlements: Sequence[Settlement], settled: Sequence[bool]) -> None:
        for settlement, held in zip(settlements, settled, strict=True):
            if held:
                self.by_move[settlement.move] += 1
            else:
                self.lost += 1

    @property
    def failed(self) -> int:
        return self.by_move[Move.RETRY] + self.by_move[Move.DEAD]

    @property
    def completed(self) -> int:
        return self.by_move[Move.COMPLETED]


class Settler:
    """Takes decisions from the outbox to the store; fetches the next jobs on the same way.

    One exchange at a time: what the flusher gives back is in the line before the worker says that the line is empty.
    """

    def __init__(self, queue: Queue, order: QueueOrder, outbox: Outbox) -> None:
        self.queue = queue
        self._order = order
        self.counters = Counters()
        self._outbox = outbox
        self._busy = threading.Lock()

    def exchange(self, limit: int, worker: UUID, older_than: float = 0.0) -> Exchange:
        """Store what was decided and fetch up to `limit` jobs, in one transaction.

        With `older_than`, nothing happens before a decision has been waiting for so many seconds. Raises the errors of
        a store that does not answer; the decisions are kept for the next time.
        """
        with self._busy:
            if self._outbox.oldest_age < older_than:
                return Exchange([], [])
            if stored := self._outbox.take_stored():
                self.counters.count(stored, [True] * len(stored))
            settlements = self._outbox.take_settlements()
            queues = self._order.next() if limit > 0 else ()
            try:
                exchange = self.queue.exchange(settlements, queues, limit, worker)
            except (OperationalError, InterfaceError):
                self._outbox.put_back(settlements)
                raise
            except Exception as error:
                if not settlements:
                    raise
                count = len(settlements)
                logger.error("A batch of %d settlements was refused (%s); storing them one by one.", count, error)
                self._settle_singly(settlements)
                if not isinstance(error, DatabaseError):
                    raise  # it may have claimed before it failed; what a database refuses is rolled back
                return self.queue.exchange((), queues, limit, worker)
            self.counters.count(settlements, exchange.settled)
            return exchange

    def _settle_singly(self, settlements: Sequence[Settlement]) -> None:
        """One settlement the database refuses must not hold up the others."""
        waiting = list(settlements)
        try:
            while waiting:
                self._settle_somehow(waiting[0])
                del waiting[0]
        finally:
            self._outbox.put_back(waiting)

    def _settle_somehow(self, settlement: Settlement) -> None:
        """As it is; or, if that is refused, as a dead letter without its texts; or else when this worker leaves."""
        job_id = settlement.reservation.job_id
        for form in (settlement, _bare(settlement)):
            try:
                self.counters.count([form], self.queue.settle([form]))
                return
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                logger.exception("The settlement of job %s (%s) was refused.", job_id, form.move)
        logger.error("Job %s keeps its lease until this worker stops.", job_id)


def _bare(settlement: Settlement) -> Settlement:
    error = ErrorRecord("django_jobqueue.exceptions.JobQueueError", "the database refused what the job left behind")
    return Settlement(settlement.reservation, Move.DEAD, error=error, reason="result_invalid")
