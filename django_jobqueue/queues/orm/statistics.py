"""SQLite: what ANALYZE found in our tables is forgotten.

SQLite plans by what ANALYZE (or `PRAGMA optimize`) once saw, whatever the tables hold by now. A queue's are empty at
night: with statistics of a few rows every look for an id reads its table from end to end, for ever. Without statistics
SQLite takes a table for large, and each statement of ours reads by its index: see tests/plans.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from django.db import Error

LOOK_SECONDS = 10.0
"""How often a process looks for statistics. A look takes 15 µs."""
_KEPT_IN = ("sqlite_stat1", "sqlite_stat4")
_OURS = r"tbl LIKE 'jobqueue\_%' ESCAPE '\'"
_look_at: dict[str, float] = {}


def forget(connection: Any) -> None:
    """Outside of a transaction. Now and then, so that whoever lets ANALYZE run needs to know nothing of us."""
    now, alias = time.monotonic(), connection.alias
    if now < _look_at.get(alias, 0.0):
        return
    _look_at[alias] = now + LOOK_SECONDS
    with suppress(Error), connection.wrap_database_errors:  # somebody's lock: another time will do
        driver = connection.connection
        if tables := _with_statistics(driver):
            _forget(driver, tables)


def _with_statistics(driver: Any) -> list[str]:
    known = driver.execute(f"SELECT name FROM sqlite_master WHERE name IN {_KEPT_IN}").fetchall()
    return [name for (name,) in known if driver.execute(f"SELECT 1 FROM {name} WHERE {_OURS} LIMIT 1").fetchone()]


def _forget(driver: Any, tables: list[str]) -> None:
    """For all connections: they read statistics with the schema, and read that again when it has changed."""
    driver.execute("BEGIN IMMEDIATE")
    try:
        for name in tables:
            driver.execute(f"DELETE FROM {name} WHERE {_OURS}")
        driver.execute("CREATE VIEW jobqueue_changed AS SELECT 1")
        driver.execute("DROP VIEW jobqueue_changed")
        driver.execute("ANALYZE sqlite_master")  # reads no table: this connection, too, takes them as they are
        driver.execute("COMMIT")
    except BaseException:
        driver.rollback()
        raise
