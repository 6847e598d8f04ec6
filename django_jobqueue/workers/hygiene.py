"""After a job: leave nothing of it behind that would change the next one."""

from __future__ import annotations

import logging
from typing import Any

from django.db import connections

logger = logging.getLogger("django_jobqueue.worker")


def clean_connections() -> None:
    """Close what a job left in a transaction, or broke. A healthy connection stays open for the next job."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or connection.closed_in_transaction:
            logger.warning("A job left a transaction open on %r; it is rolled back.", connection.alias)
            _abandon(connection)
        elif connection.errors_occurred or not _is_autocommit(connection):
            connection.close_if_unusable_or_obsolete()


def _is_autocommit(connection: Any) -> bool:
    return connection.connection is None or bool(connection.autocommit == connection.settings_dict["AUTOCOMMIT"])


def _abandon(connection: Any) -> None:
    """Close a connection in the middle of a transaction: the server rolls it back."""
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.close()


def close_connections() -> None:
    """Close this thread's connections; for the end of a thread, and after a database error."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _abandon(connection)
        else:
            connection.close()
