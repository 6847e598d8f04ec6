"""SQLite: one writer at a time, so every move takes the write lock first and needs no row locks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.orm.dialect import Dialect
from django_jobqueue.queues.orm.rows import JOBS, READY, insert

_INSERT_JOB, _INSERT_READY = (insert(table).replace("%s", "?") for table in (JOBS, READY))


class SQLiteDialect(Dialect):
    for_update = ""
    skip_locked = ""

    def to_id(self, value: UUID | None) -> Any:
        return None if value is None else value.hex

    def to_time(self, moment: datetime | None) -> Any:
        if moment is not None and moment.tzinfo is UTC:
            return str(moment.replace(tzinfo=None))  # what Django writes, at a fifth of the time
        return super().to_time(moment)

    def as_read(self, time_column: str) -> str:
        return f"{time_column} || ''"  # an expression: the driver's converter would raise for what is no time

    def from_time(self, value: Any) -> datetime:
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                value = None
        return super().from_time(value)

    def now(self) -> datetime:
        """The host's clock: SQLite has no server, and its own clock has milliseconds only."""
        return datetime.now(UTC)

    @contextmanager
    def push_transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE past Django's own book-keeping, which costs more than the two rows of a job."""
        self.connection.ensure_connection()
        if self.connection.in_atomic_block or not self.connection.autocommit:
            with self.transaction():
                yield
            return
        driver = self.connection.connection
        with self.connection.wrap_database_errors:
            driver.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self.connection.wrap_database_errors:
                driver.commit()
        except BaseException:
            driver.rollback()
            raise

    def insert_jobs(self, payloads: Sequence[JobPayload], fresh: bool = False) -> set[UUID]:
        if not (fresh and len(payloads) == 1 and payloads[0].is_plain):
            return super().insert_jobs(payloads, fresh)
        job, now = payloads[0], self.now()
        driver = self.connection.connection
        [place] = self.places(now, 1)
        values = self.job_values(job, now)
        with self.connection.wrap_database_errors:
            driver.execute(_INSERT_JOB, values)
            driver.execute(_INSERT_READY, (values[0], job.queue, job.priority, place, 0, 0, 0))
        return {job.id}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE. A deferred transaction that writes later fails at once, unheard, if another wrote."""
        connection = self.connection
        if connection.in_atomic_block:
            with transaction.atomic(using=connection.alias):
                yield
            return
        connection.ensure_connection()  # sets the mode the project asked for, which we put back
        previous = connection.transaction_mode
        connection.transaction_mode = "IMMEDIATE"
        try:
            with transaction.atomic(using=connection.alias):
                yield
        finally:
            connection.transaction_mode = previous
