"""A project with two stores: its database, called `default`, and a Redis server, called `fast`."""

from __future__ import annotations

from typing import Any

from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerReport

NOBODY_LISTENS = {"url": "redis://127.0.0.1:9/0"}
REDIS = {"connection": "redis"}
ONE_STORE = {"default": {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "QUEUES": []}}


def two_stores(options: dict[str, Any] | None = None) -> dict[str, Any]:
    """`TASKS`, with these OPTIONS for `fast`."""
    options = REDIS if options is None else options
    fast = {"BACKEND": "django_jobqueue.backends.RedisBackend", "QUEUES": [], "OPTIONS": options}
    return {**ONE_STORE, "fast": fast}


def empty_fast() -> Any:
    """The queue behind `fast`, without what other tests left there."""
    queue: Any = get_queue("fast")
    queue.connection.client.flushdb()
    return queue


def show(queue, worker):
    """A worker that has joined, and that operators can see."""
    queue.join(worker)
    queue.report(worker.id, WorkerReport())
