"""What becomes of the jobs of a child that is gone. Done by the heart, and if need be twice: that changes nothing."""

from __future__ import annotations

import logging
from uuid import UUID

from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.board import Cause, Slot

logger = logging.getLogger("django_jobqueue.worker")


def bury(queue: Queue, slot: Slot) -> None:
    """Take back what the child still holds, and free its slot. Raises the errors of a store that does not answer.

    It died by itself: one of its jobs may be to blame, so each is charged with a crash. It ended in good order, or its
    parent had a reason to kill it: they go back uncharged.
    """
    life, worker = slot.life, slot.worker
    if worker is not None:
        if slot.ending.cause is Cause.CRASH:
            _rescue(queue, worker)
        else:
            queue.leave(worker)
        if queue.leases(worker):  # its last statement is still at work in the server: next time
            return
    slot.bury(life)


def _rescue(queue: Queue, worker: UUID) -> None:
    moved = queue.declare_dead(worker)
    if moved:
        logger.warning("Took %d jobs back from worker %s, which died.", moved, worker)
