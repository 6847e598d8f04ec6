"""SQLite: the write-ahead log is brought into the file beside the worker, not by it.

A commit that finds a thousand pages in the log (`PRAGMA wal_autocheckpoint`) writes them into the file before it
returns, and waits for the disk twice. When it is a claim's, the jobs that were claimed wait, and all that come
meanwhile. So the commits of a worker's moves leave that to a thread, which does it as often. Should it not be enough,
or fail, a commit does it after all, at eight times as many pages.
"""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from typing import Any

from django.db import Error, connections

PATIENCE = 8
"""A worker's commit does it at so many times as many pages as any other of its connection."""
_SHARE = 0.75
"""Of these pages: then it is done before the commit of a producer meets them."""
_PASSES = 3
"""What is written to the log meanwhile, the next pass brings in: only when nothing is left the log begins anew."""
_A_MOVE, _A_JOB, _MOST = 8, 6, 100
"""Pages that are written, roughly: for a move; for one of its jobs, with its push; for many, which share pages."""

_written: dict[str, int] = {}
_threads: dict[str, threading.Thread] = {}


class Log:
    """What one transaction of this process adds to the log."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._driver = connection.connection
        self._limit = 0
        self._pages = 0

    def leave_alone(self, jobs: int) -> None:
        """Inside: the commit of this transaction, which moves so many jobs, does no checkpoint.

        Where the project has switched them off, because something else does them, nothing is done here either.
        """
        self._pages += min(_A_JOB * jobs, _MOST)
        if not self._limit:
            with self._connection.wrap_database_errors:
                self._limit = self._driver.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
                if self._limit > 0:
                    self._driver.execute(f"PRAGMA wal_autocheckpoint = {self._limit * PATIENCE}")

    def end(self) -> None:
        """Outside: the connection's own limit counts again, and now and then a thread is sent."""
        if self._limit <= 0:
            return
        with suppress(Error, RuntimeError), self._connection.wrap_database_errors:  # closed; no more threads
            self._driver.execute(f"PRAGMA wal_autocheckpoint = {self._limit}")
            alias = self._connection.alias
            _written[alias] = _written.get(alias, 0) + _A_MOVE + self._pages
            if _written[alias] >= _SHARE * self._limit and not _is_at_it(alias):
                _written[alias] = 0
                if self._driver.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                    _threads[alias] = threading.Thread(target=bring_in, args=(alias,), name="jobqueue-checkpoint")
                    _threads[alias].start()


def _is_at_it(alias: str) -> bool:
    return alias in _threads and _threads[alias].is_alive()


def bring_in(alias: str) -> None:
    """On a connection of its own, without what Django adds to each. Waits for nobody, and nobody for it."""
    with suppress(Error), connections[alias].wrap_database_errors, closing(_driver_of(connections[alias])) as driver:
        for _ in range(_PASSES):
            is_busy, pages, moved = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if is_busy or pages == moved:
                break


def _driver_of(connection: Any) -> Any:
    """Of the same library: two of them in one process would take each other's locks from the file."""
    given = connection.get_connection_params()
    return connection.Database.connect(given["database"], uri=given.get("uri", False), timeout=0)
