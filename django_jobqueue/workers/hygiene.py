"""Connections before, between and after jobs: nothing a job does to one reaches the next job."""

from __future__ import annotations

import logging
import re
from collections.abc import Set
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import Error, connections
from django.db.backends.signals import connection_created

from django_jobqueue.compat import task_backends

logger = logging.getLogger("django_jobqueue.worker")

_PG_IDLE = 0  # libpq's PQTRANS_IDLE
_MYSQL_IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS


_HARMLESS = re.compile(
    r"[\s(]*(?:SELECT|INSERT|UPDATE|DELETE|WITH|REPLACE|MERGE|VALUES|SAVEPOINT|RELEASE|ROLLBACK|COMMIT|BEGIN|END|START"
    r"|EXPLAIN|ANALYZE|NOTIFY|TRUNCATE|ALTER|DROP|COMMENT|REFRESH|CREATE\s+(?!(?:LOCAL\s+|GLOBAL\s+)?TEMP)"
    r"|SET\s+(?:LOCAL|CONSTRAINTS|TRANSACTION))\b",
    re.IGNORECASE,
)
_LASTING = ("set_config(", "advisory_lock", "get_lock(", "into temp")
_MARK = "jobqueue_session_has_changed"


def _note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Mark a connection whose session may be another one after a statement: `SET`, `LISTEN`, a temporary table, a lock.

    What was set can't be asked without a round trip for each job; what is run can be read. Only what is known to last
    no longer than its transaction is let through. A statement that goes past Django's cursors is not seen.
    """
    text = sql if isinstance(sql, str) else ""
    if not _HARMLESS.match(text) or any(word in text.lower() for word in _LASTING):
        setattr(context["connection"], _MARK, True)
    return execute(sql, params, many, context)


def watch_sessions() -> None:
    """From here on, see what is run on this thread's connections, those that are opened later included."""
    connection_created.connect(_begin_session, dispatch_uid="django_jobqueue")
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _begin_session(connection=connection)


def _begin_session(connection: Any, **_: Any) -> None:
    setattr(connection, _MARK, False)
    if _note not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note)


def prepare_thread() -> None:
    """What the thread keeps for all its jobs, made before the first: each job runs in a copy of this context.

    Django keeps caches and task backends in context variables. Made in a job, they would be gone with it.
    """
    for handler, aliases in ((caches, settings.CACHES), (task_backends, getattr(settings, "TASKS", None) or {})):
        for alias in aliases:
            with suppress(Exception):  # a job that needs it hears of it
                handler[alias]
    watch_sessions()


def _initialized() -> list[Any]:
    """`connections.all(initialized_only=True)`, which asks asgiref twice for each: half of what a look costs."""
    mine = connections._connections  # type: ignore[attr-defined]
    return [connection for alias in connections if (connection := getattr(mine, alias, None)) is not None]


def clean_connections(spare: Set[str] = frozenset()) -> None:
    """Close what a job left in a transaction, or broke. A healthy connection stays open for the next job.

    `spare` names connections that are not the job's to clean: a test's own transaction.
    """
    for connection in _initialized():
        if connection.alias in spare:
            continue
        if _is_unfit(connection):
            logger.warning("A job left a transaction open on %r, or broke it; it is closed.", connection.alias)
            _abandon(connection)
        elif getattr(connection, _MARK, False):
            logger.debug("A job changed the session of %r, or may have; it is closed.", connection.alias)
            _close(connection)
        elif connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


def _is_unfit(connection: Any) -> bool:
    """Whether a transaction is open, by Django or by hand, or the connection was closed behind Django's back."""
    if connection.in_atomic_block or connection.closed_in_transaction:
        return True
    raw = connection.connection
    if raw is None:
        return False
    if not connection.autocommit:
        return bool(connection.settings_dict["AUTOCOMMIT"])
    try:
        if connection.vendor == "sqlite":
            return bool(raw.in_transaction)
        if connection.vendor == "postgresql":
            return bool(raw.info.transaction_status != _PG_IDLE)
        if connection.vendor == "mysql":  # mysqlclient, unlike PyMySQL, does not tell its status
            return not raw.open or bool(getattr(raw, "server_status", 0) & _MYSQL_IN_TRANSACTION)
    except Exception:  # what can't be asked can't be used
        return True
    return False


def _abandon(connection: Any) -> None:
    """Close a connection in the middle of a transaction: the server rolls it back."""
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    with suppress(Error):  # SQLite keeps a database in memory open, and its transaction with it
        connection._rollback()
    _close(connection)
    if connection.connection is not None:
        connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])


def close_connections() -> None:
    """Close this thread's connections; for the end of a thread, and after a database error."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _abandon(connection)
        else:
            _close(connection)


def close_before_fork() -> None:
    """Close every connection of this thread, pools included: two processes on one socket read each other's answers.

    A pool of psycopg has threads, too, and a fork copies none of them.
    """
    close_connections()
    for connection in connections.all(initialized_only=True):
        if hasattr(connection, "close_pool"):
            connection.close_pool()
    for cache in caches.all(initialized_only=True):
        # django-redis keeps its connections when it is only closed
        getattr(getattr(cache, "client", None), "do_close_clients", cache.close)()


def _close(connection: Any) -> None:
    with suppress(Error):  # PyMySQL refuses to close what is closed
        connection.close()
