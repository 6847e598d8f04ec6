"""Cancelling a job, wherever it is: one that waits never runs, one that runs is asked to stop."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from django_jobqueue.compat import TaskResult
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Queue

_LOOKS = 3
"""A job may move while we look: it starts, or it failed and waits again."""


class Cancellation(StrEnum):
    """What `cancel` could do. NOTHING is false in a condition."""

    CANCELLED = "cancelled"
    ASKED = "asked"
    NOTHING = ""


def cancel(job: TaskResult | UUID | str, *, backend: str = "default", kill: bool = False) -> Cancellation:
    """Cancel a job by its result, or by its id and its entry of `TASKS`.

    CANCELLED: it waited and never runs. ASKED: it runs and is told (`context.is_cancelled`); with `kill` its worker
    stops it by force. From here on it completes or ends as cancelled, nothing else. NOTHING: it is over, a dead letter,
    or unknown. Raises `ValueError` for what is no id, and the errors of a store that does not answer.
    """
    if isinstance(job, TaskResult):
        backend = job.backend
        job = job.id
    return cancel_in(get_queue(backend), job if isinstance(job, UUID) else UUID(job), kill=kill)


def cancel_in(queue: Queue, job_id: UUID, *, kill: bool = False) -> Cancellation:
    """As `cancel`, in this store."""
    for _ in range(_LOOKS):
        if queue.cancel(job_id):
            return Cancellation.CANCELLED
        if queue.request_cancel(job_id, kill):
            return Cancellation.ASKED
        if queue.find(job_id) is None:
            break
    return Cancellation.NOTHING
