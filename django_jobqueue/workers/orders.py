"""What operators want of workers: `worker_processes.desired_state`, which the admin writes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.board import Command

_WORDS = {"": Command.RUN, "run": Command.RUN, "quiet": Command.QUIET, "stop": Command.STOP}


def orders(queue: Queue, workers: Sequence[UUID]) -> dict[UUID, Command]:
    """One query. A worker without a row, or with a word nobody knows, is not in it. Raises `DatabaseError`."""
    if not workers:
        return {}
    rows = WorkerProcess._default_manager.using(queue.database).filter(id__in=workers)
    return {worker: _WORDS[word] for worker, word in rows.values_list("id", "desired_state") if word in _WORDS}
