"""Which store the admin looks at, and acts on."""

from __future__ import annotations

from typing import Any

from django.db import router

from django_jobqueue.compat import backend_of, task_backends
from django_jobqueue.queues.base import Queue


def stores() -> list[Queue]:
    """The queues behind the entries of TASKS that are ours."""
    backends = [backend_of(alias) for alias in task_backends]
    return [backend.queue for backend in backends if hasattr(type(backend), "queue")]


def database_of(model: Any) -> str:
    """Where the admin reads this model: what the project's router says, unless no store of ours is there."""
    routed: str = router.db_for_read(model)
    ours = [queue.database for queue in stores()]
    return routed if routed in ours or not ours else ours[0]


def queue_for(using: str) -> Queue | None:
    """The store whose rows are in this database: the first entry of TASKS that uses it."""
    return next((queue for queue in stores() if queue.database == using), None)
