"""After a job: leave nothing of it behind that would change the next one."""

from __future__ import annotations

import logging
from collections.abc import Set
from contextlib import suppress
from typing import Any

from django.db import Error, connections

logger = logging.getLogger("django_jobqueue.worker")

_PG_IN_TRANSACTION = (2, 3)  # libpq's PQTRANS_INTRANS and PQTRANS_INERROR


def clean_connections(spare: Set[str] = frozenset()) -> None:
    """Close what a job left in a transaction, or broke. A healthy connection stays open for the next job.

    `spare` names connections that are not the job's to clean: a test's own transaction.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias in spare:
            continue
        if _has_open_transaction(connection):
            logger.warning("A job left a transaction open on %r; it is rolled back.", connection.alias)
            _abandon(connection)
        elif connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()


def _has_open_transaction(connection: Any) -> bool:
    """Whether Django or the driver knows of one. MySQL's drivers can't tell a BEGIN by hand; the next BEGIN ends it."""
    if connection.in_atomic_block or connection.closed_in_transaction:
        return True
    raw = connection.connection
    if raw is None:
        return False
    if not connection.autocommit:
        return bool(connection.settings_dict["AUTOCOMMIT"])
    if connection.vendor == "sqlite":
        return bool(raw.in_transaction)
    return connection.vendor == "postgresql" and raw.info.transaction_status in _PG_IN_TRANSACTION


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
    connection.close()
    if connection.connection is not None:
        connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])


def close_connections() -> None:
    """Close this thread's connections; for the end of a thread, and after a database error."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _abandon(connection)
        else:
            connection.close()
