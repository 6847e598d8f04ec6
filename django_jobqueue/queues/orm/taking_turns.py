"""SQLite: how a move waits for the one write lock.

SQLite's own wait sleeps 1, 2, 5, 10, 15, 20, 25 and soon 100 ms between two looks, however short the lock is held: a
move of ours takes half a millisecond. Whoever has missed it a few times sleeps through dozens of turns of the others.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import OperationalError

FIRST_SECONDS, GROWTH, LONGEST_SECONDS = 0.0005, 1.3, 0.008
"""Between two looks. A look costs 10 µs."""


def begin(driver: Any, start: Callable[[], Any]) -> None:
    """Let `start` begin a transaction that writes. Waits as long as the connection's own `timeout` allows.

    Raises what `start` does then; of it nothing but "the database is locked" is waited out.
    """
    timeout_ms = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    driver.execute("PRAGMA busy_timeout = 0").fetchall()
    try:
        _try(start, time.monotonic() + timeout_ms / 1_000)
    finally:
        with suppress(sqlite3.ProgrammingError):  # Django has closed it, and begun on a new one
            driver.execute(f"PRAGMA busy_timeout = {timeout_ms}").fetchall()


def _try(start: Callable[[], Any], deadline: float) -> None:
    pause = FIRST_SECONDS
    while True:
        try:
            start()
        except (sqlite3.OperationalError, OperationalError) as error:
            left = deadline - time.monotonic()
            if left <= 0 or not _is_busy(error):
                raise
        else:
            return
        time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311 (many wait, and look at different times)
        pause = min(pause * GROWTH, LONGEST_SECONDS)


def _is_busy(error: BaseException) -> bool:
    """By the driver's own error, which Django's has as its cause."""
    code = getattr(error.__cause__ or error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY
