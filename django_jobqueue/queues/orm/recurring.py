"""The statements of a scheduler. Each is one step of a tick, inside its transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from django_jobqueue.queues.orm.dialect import Dialect
from django_jobqueue.queues.orm.queue import dialect_of
from django_jobqueue.queues.recurring import DueSchedule, Written

RECURRING = "jobqueue_recurring_jobs"
FROZEN_SECONDS = 10
"""After so long without a word the database takes the rows of a scheduler back, where it can."""
_TIMES = ("ends_at", "retired_at", "last_run_at", "next_run_at")
_FIRST_TIME = DueSchedule._fields.index(_TIMES[0])
_PLAIN = {
    **{"last_run_at": "timestamptz", "next_run_at": "timestamptz", "due_at": "timestamptz"},
    **{"last_job_id": "uuid", "id": "bigint"},
}
"""Columns of `Written` with their types, for databases that have to be told, the key last. Where all went well, the
others are the same in all rows."""
_ALL = _PLAIN | {"failures": "int", "last_error": "text"}
_ALL["id"] = _ALL.pop("id")


class OrmScheduleTable:
    """`recurring_jobs` in one database. See `ScheduleTable`."""

    def __init__(self, database: str) -> None:
        self.database = database

    def now(self) -> datetime:
        return self._dialect().now()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        dialect = self._dialect()
        with dialect.transaction(), dialect.given_up_when_frozen(FROZEN_SECONDS):
            yield

    def plain_transaction(self) -> AbstractContextManager[None]:
        return self._dialect().transaction()

    def take(self, now: datetime, limit: int) -> list[DueSchedule]:
        """The plan must read `jobqueue_recurring_due` in order and stop after `limit` rows."""
        dialect = self._dialect()
        columns = ["id", *DueSchedule._fields[1:_FIRST_TIME], *(dialect.as_read(name) for name in _TIMES)]
        rows = dialect.rows(
            f"SELECT {', '.join(columns)} FROM {RECURRING} WHERE due_at <= %s "
            f"ORDER BY due_at LIMIT {int(limit)} {dialect.skip_locked}",
            [dialect.to_time(now)],
        )
        return [_due(dialect, row) for row in rows]

    def write(self, rows: Sequence[Written]) -> None:
        dialect = self._dialect()
        to_time, to_id = dialect.to_time, dialect.to_id
        plain: list[tuple[Any, ...]] = []
        others: list[tuple[Any, ...]] = []
        for row in rows:
            times = to_time(row.last_run_at), to_time(row.next_run_at), to_time(row.due_at)
            if row.failures or row.last_error:
                others.append((*times, to_id(row.last_job_id), row.failures, row.last_error, row.pk))
            else:
                plain.append((*times, to_id(row.last_job_id), row.pk))
        if plain:
            dialect.update_rows(RECURRING, _PLAIN, plain, "failures = 0, last_error = ''")
        if others:
            dialect.update_rows(RECURRING, _ALL, others)

    def seconds_to_next_due(self) -> float | None:
        dialect = self._dialect()
        found = dialect.rows(
            f"SELECT {dialect.as_read('r.due_at')} FROM {RECURRING} r "  # r., or PostgreSQL sorts what as_read gives
            f"WHERE r.due_at IS NOT NULL ORDER BY r.due_at LIMIT 1"
        )
        return (dialect.from_time(found[0][0]) - dialect.now()).total_seconds() if found else None

    def is_deadlock(self, error: Exception) -> bool:
        return self._dialect().is_deadlock(error)

    def _dialect(self) -> Dialect:
        return dialect_of(self.database)


def _due(dialect: Dialect, row: Sequence[Any]) -> DueSchedule:
    times = (None if value is None else dialect.from_time(value) for value in row[_FIRST_TIME:])
    due = DueSchedule._make((*row[:_FIRST_TIME], *times))
    return due._replace(last_job_id=_job_id(dialect, due.last_job_id))


def _job_id(dialect: Dialect, value: Any) -> UUID | None:
    """None, too, for what is no id: SQLite stores any text in any column, and one row must not stop the others."""
    try:
        return None if value is None else dialect.from_id(value)
    except ValueError:
        return None
