"""PostgreSQL: what a worker sends with each batch is planned once in a session, not each time.

Django prepares nothing, because behind a pooler the next statement may reach another session, which does not know what
was prepared. So it is found out first whether there is a pooler. A project that sets `prepare_threshold` itself is not
asked: then psycopg does what it says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName

logger = logging.getLogger("django_jobqueue.queues")

THRESHOLD = 5
"""Times that a statement is sent before it is prepared, as psycopg's own. A rollback makes psycopg forget all of them,
so where each job rolls back nothing is prepared in vain.
"""
FEW = 20
"""Jobs of a settlement that is prepared. A plan that is kept is one for any number: for each job it walks through the
whole batch, where the plan for five hundred hashes it. And of five hundred nobody feels the planning.
"""
_is_direct: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
_has_failed = False


def execute(cursor: psycopg.Cursor[Any], sql: str, params: Sequence[Any]) -> psycopg.Cursor[Any]:
    """Send a statement that will be sent again. What else goes over the connection stays as it is.

    Raises psycopg.Error.
    """
    driver = cursor.connection
    if _has_failed or driver.prepare_threshold is not None or not _is_the_servers(driver):
        return cursor.execute(sql, params)
    driver.prepare_threshold = THRESHOLD
    try:
        return cursor.execute(sql, params)
    except (InvalidSqlStatementName, DuplicatePreparedStatement):
        _give_up()
        raise
    finally:
        driver.prepare_threshold = None


def _is_the_servers(driver: Any) -> bool:
    """Whether this is a session of the server itself: it says the same process number as who took the connection.

    A pooler makes a number up for each of its clients, with which they may cancel.
    """
    known = _is_direct.get(driver)
    if known is None:
        answer = psycopg.Cursor(driver).execute("SELECT pg_backend_pid()").fetchone()
        known = _is_direct[driver] = answer is not None and answer[0] == driver.info.backend_pid
    return known


def _give_up() -> None:
    """Who sent it tries again on a new connection, as after every error."""
    global _has_failed
    _has_failed = True
    logger.warning("The server has lost prepared statements (is there a pooler?). This process prepares no more.")
