"""Where the shop's jobs are: in one store or, with JOBQUEUE_EXAMPLE_STORE=both, in two."""

from __future__ import annotations

from django.conf import settings

from django_jobqueue import get_queue
from django_jobqueue.queues.base import Queue


def queues() -> list[Queue]:
    return [get_queue(alias) for alias in settings.TASKS]


def live_jobs(name: str | None = None) -> int:
    """Jobs that wait or run, of one queue or of all, in every store."""
    return sum(queue.size(name) for queue in queues())
