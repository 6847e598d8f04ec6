"""What the heart does about running jobs that were cancelled: it tells their child, and dooms one that can't listen.

A child stops such a job by itself, at its next line of Python, or has its parent kill it at a deadline that it
publishes. One that never gets the GIL can do neither; for a job that is to be killed the heart waits a little longer,
and then says on the board that the child must go. What is left of the job ends as cancelled, whoever settles it: the
store sees to that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from uuid import UUID

from django_jobqueue.conf import conf
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.board import Slot

logger = logging.getLogger("django_jobqueue.worker")

Lives = Mapping[UUID, tuple[Slot, int]]
"""The workers that live, each with its slot and the number of its life."""


class Cancellations:
    """Of the children of one store."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._told: dict[UUID, dict[UUID, bool]] = {}
        self._kill_since: dict[UUID, float] = {}

    def ask(self, lives: Lives) -> None:
        """One question for all children, and one more for each when there is anything. Raises as a store does."""
        found = self._queue.cancellations(*lives) if lives else {}
        told = {worker: self._queue.cancellations(worker) for worker in lives} if found else {}
        for worker, jobs in told.items():
            if jobs != self._told.get(worker, {}):
                lives[worker][0].call_attention()
        self._told = told
        self._doom(lives)

    def _doom(self, lives: Lives) -> None:
        now = time.monotonic()
        to_kill = {job_id for jobs in self._told.values() for job_id, kill in jobs.items() if kill}
        self._kill_since = {job_id: self._kill_since.get(job_id, now) for job_id in to_kill}
        for worker, jobs in self._told.items():
            late = [one for one in jobs if now - self._kill_since.get(one, now) > 2 * conf().KILL_AFTER]
            slot, life = lives[worker]
            if late and not slot.is_doomed:
                logger.error("Job %s was cancelled, and can't be stopped: its process is.", late[0])
                slot.doom(life)
