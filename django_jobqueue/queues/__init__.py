"""Where jobs wait. `get_queue` gives the store behind an entry of `TASKS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django_jobqueue.compat import InvalidTaskBackend, backend_of

if TYPE_CHECKING:
    from django_jobqueue.queues.base import Queue


def get_queue(alias: str = "default") -> Queue:
    """The queue behind `TASKS[alias]`.

    Raises `InvalidTaskBackend` when there is no such entry, or it is not one of this package's backends.
    """
    queue = getattr(backend_of(alias), "queue", None)
    if queue is None:
        raise InvalidTaskBackend(
            f"TASKS[{alias!r}] is not a django_jobqueue backend: set its BACKEND to "
            f"'django_jobqueue.backends.DatabaseBackend'."
        )
    return cast("Queue", queue)
