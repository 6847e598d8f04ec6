"""What becomes of the jobs of a child that is gone. Done by the heart, and if need be twice: that changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from django.db import InterfaceError, OperationalError

from django_jobqueue.lifecycle.outcomes import interrupted
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.board import Cause, Ending, Slot
from django_jobqueue.workers.executor import Executor

logger = logging.getLogger("django_jobqueue.worker")


def bury(queue: Queue, slot: Slot) -> None:
    """Take back what the child still holds, and free its slot. Raises the errors of a store that does not answer.

    It died by itself: one of its jobs may be to blame, so each that it had started is charged with a crash. A job was
    past its hard deadline: that one has expired. It was to end: nobody is to blame. Who is not goes back uncharged.
    """
    life, worker, ending = slot.life, slot.worker, slot.ending
    if worker is not None:
        unstarted = {job.job_id for job in queue.leases(worker) if slot.hand.holds(job.job_id)}
        if ending.cause is Cause.CRASH or (ending.cause is Cause.DEADLINE and not _has_expired(queue, worker, ending)):
            _rescue(queue, worker, unstarted)
        else:
            _give_back(queue, worker, unstarted)
        if queue.leases(worker):  # its last statement is still at work in the server: next time
            return
    slot.bury(life)


def _has_expired(queue: Queue, worker: UUID, ending: Ending) -> bool:
    """Settle the job that had to be stopped. False when that is refused: then it counts as a crash, and these end."""
    guilty = [job for job in queue.leases(worker) if (job.job_id, job.lease_no) == (ending.job_id, ending.lease_no)]
    asked = queue.cancellations(worker)
    try:
        executor = Executor(queue, worker)
        queue.settle([executor.expired(job, job.job_id in asked) for job in guilty])  # none: it was just over
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("That job %s expired could not be stored.", ending.job_id)
        return False
    return True


def _give_back(queue: Queue, worker: UUID, unstarted: Collection[UUID]) -> None:
    """What has a crash budget of its own, and may have been started, must not run again."""
    started = [job for job in queue.leases(worker) if job.job_id not in unstarted]
    queue.settle([interrupted(job) for job in started if job.crash_budget is not None])
    queue.leave(worker)


def _rescue(queue: Queue, worker: UUID, unstarted: Collection[UUID]) -> None:
    moved = queue.declare_dead(worker, unstarted)
    if moved:
        logger.warning("Took %d jobs back from worker %s, which died.", moved, worker)
