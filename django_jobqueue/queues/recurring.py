"""The table of schedules as a scheduler sees it: what is due, under a lock, and what has become of it.

Not a part of a store: schedules live in a database, beside the jobs they push or the outbox of the store they push to.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol, cast
from uuid import UUID

from django.utils.module_loading import import_string

_TABLE = "django_jobqueue.queues.orm.recurring.OrmScheduleTable"


class DueSchedule(NamedTuple):
    """A row that is due. Times are aware."""

    pk: int
    name: str
    task: str
    args: str
    kind: str
    expression: str
    timezone: str
    backend: str
    queue: str
    priority: int | None
    jitter: float
    misfire: str
    misfire_limit: int
    grace: float
    overlap: str
    enabled: bool
    source: str
    last_job_id: UUID | None
    failures: int
    last_error: str
    ends_at: datetime | None
    retired_at: datetime | None
    last_run_at: datetime | None
    next_run_at: datetime | None


class Written(NamedTuple):
    """What a scheduler writes to a row; the order of the columns is the statement's."""

    last_run_at: datetime | None
    next_run_at: datetime | None
    due_at: datetime | None
    last_job_id: UUID | None
    failures: int
    last_error: str
    pk: int


class ScheduleTable(Protocol):
    """The schedules of one database, over the calling thread's connection. Raises Django's database errors."""

    def now(self) -> datetime:
        """The database's clock; SQLite has none, there it is the host's."""

    def transaction(self) -> AbstractContextManager[None]:
        """Of a scheduler: where the database can, one that is given up when its process is frozen in it."""

    def plain_transaction(self) -> AbstractContextManager[None]:
        """Of anybody else."""

    def take(self, now: datetime, limit: int) -> list[DueSchedule]:
        """Rows that are due, the longest first, locked. Those that another transaction has locked are passed over."""

    def write(self, rows: Sequence[Written]) -> None: ...

    def seconds_to_next_due(self) -> float | None:
        """Negative for what is overdue, None when nothing will ever be due. Reads one entry of an index."""

    def is_deadlock(self, error: Exception) -> bool: ...


def schedule_table(database: str) -> ScheduleTable:
    """The table in `database`, an alias of `DATABASES`."""
    return cast("ScheduleTable", import_string(_TABLE)(database))
