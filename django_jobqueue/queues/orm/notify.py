"""LISTEN and NOTIFY: the wake-up call of idle workers on PostgreSQL. Only a hint; polling is always behind it."""

from __future__ import annotations

import threading
import time
from typing import Any

CHANNEL = "jobqueue"
QUIET_SECONDS = 0.025
"""At most one notification per queue and process in this time: each takes a lock of the whole server at commit.

A push that was kept quiet is found all the same: a worker that was woken looks again every few milliseconds for longer
than this before it goes to sleep.
"""

_DJANGO_ONLY = {"cursor_factory", "context", "prepare_threshold"}
_lock = threading.Lock()
_last: dict[tuple[str, str], float] = {}


def may_notify(alias: str, queue: str) -> bool:
    """Whether this process has been quiet about the queue for long enough."""
    now = time.monotonic()
    with _lock:
        if now - _last.get((alias, queue), -1.0) < QUIET_SECONDS:
            return False
        _last[alias, queue] = now
    return True


class Listener:
    """One connection of its own, outside Django and any pool: LISTEN must not leak to whoever borrows it next."""

    def __init__(self, connection: Any) -> None:
        import psycopg  # not installed everywhere, and this module is imported everywhere

        params = connection.get_connection_params()
        keep = {key: value for key, value in params.items() if key not in _DJANGO_ONLY}
        self._connection: Any = psycopg.connect(**keep, autocommit=True)
        self._connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, queues: frozenset[str], timeout: float) -> set[str]:
        """Which of these queues (all, if empty) a push was announced to, "" if nobody said which. Empty: time is up.

        Raises psycopg.Error when cut off.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            told = {note.payload for note in self._connection.notifies(timeout=left, stop_after=1)}
            if heard := told & {"", *queues} if queues else told:
                return heard
        return set()

    def close(self) -> None:
        self._connection.close()
