"""The stores that schedules push to: which ones a tick may push to, and which of them do not answer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from django.db import InterfaceError, OperationalError

from django_jobqueue.compat import InvalidTaskBackend
from django_jobqueue.exceptions import EnqueueError, JobQueueError, StoreUnavailable
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Queue
from django_jobqueue.queues.recurring import DueSchedule
from django_jobqueue.scheduling.breaker import Silence

_ALLOW, _CHORE = str(RecurringJob.Overlap.ALLOW), str(RecurringJob.Source.CHORE)
_silence = Silence()


class Stores:
    """The stores that rows of one database push to."""

    def __init__(self, database: str) -> None:
        self._database = database

    def of(self, alias: str) -> Queue:
        """Raises `InvalidTaskBackend` for one that such a row can't push to."""
        queue = get_queue(alias)
        if queue.database != self._database:
            raise InvalidTaskBackend(
                f"TASKS[{alias!r}] works with the database {queue.database!r}, and this schedule is in "
                f"{self._database!r}: a job and its schedule must be written in one transaction"
            )
        return queue

    def alive(self, rows: Sequence[DueSchedule]) -> dict[UUID, bool | str]:
        """Whether the previous jobs live, where it matters; in words, why it can't be told."""
        wanted: dict[str, list[UUID]] = defaultdict(list)
        for row in rows:
            if row.overlap != _ALLOW and row.source != _CHORE and row.last_job_id is not None:
                wanted[row.backend].append(row.last_job_id)
        found: dict[UUID, bool | str] = {}
        for alias, job_ids in wanted.items():
            found |= self._alive(alias, job_ids)
        return found

    def _alive(self, alias: str, job_ids: Sequence[UUID]) -> dict[UUID, bool | str]:
        if words := _silence.of(alias):
            return dict.fromkeys(job_ids, words)
        began = time.monotonic()
        try:
            living = self.of(alias).alive(*job_ids)
        except (JobQueueError, InvalidTaskBackend) as error:
            _silence.note(alias, str(error), time.monotonic() - began)
            return dict.fromkeys(job_ids, str(error))
        return {job_id: job_id in living for job_id in job_ids}


def is_outage(error: BaseException | None) -> bool:
    """Whether the database of the schedules did not answer, or has given the transaction up: it is of no use then."""
    if isinstance(error, StoreUnavailable):  # another store
        return False
    cause = error.__cause__ if isinstance(error, EnqueueError) else error
    return isinstance(cause, OperationalError | InterfaceError)
