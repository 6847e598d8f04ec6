"""SQLite: one writer at a time, so every move takes the write lock first and needs no row locks.

The hot statements go through the driver's own cursor on Django's connection, in a few forms that the driver keeps
prepared. What a job costs here is Python, not SQL, so a batch is made of as few values as it can be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from django.db import transaction

from django_jobqueue.jobs.ids import uuid_of_hex
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import Reservation
from django_jobqueue.queues.orm import statistics, taking_turns
from django_jobqueue.queues.orm.checkpoints import Log
from django_jobqueue.queues.orm.completing import Completions
from django_jobqueue.queues.orm.dialect import ALIVE, MAX_INT, MAX_SMALLINT
from django_jobqueue.queues.orm.rows import DELAYED, JOBS, LOCKS, READY, WORKERS, insert
from django_jobqueue.queues.orm.values import EPOCH, MICROSECOND

ROWS_AT_ONCE = 20
"""Rows that one INSERT writes. More are no faster, and need a statement of their own for each number of rows."""
_VALUES = re.compile(r"VALUES (\(.*?\))")
_INSERT_JOB, _INSERT_READY = (insert(table).replace("%s", "?") for table in (JOBS, READY))
# The line is read in its order, and LEFT JOIN keeps it: nothing is sorted, and it stops after so many.
_LINE = f"""
SELECT r.job_id, min(r.lease_no + 1, {MAX_INT}), min(r.attempt + 1, {MAX_SMALLINT}), r.crashes, r.priority, r.seq,
       j.id, j.task, j.args, j.max_attempts, j.timeout, j.times_retried, j.created_at || '', j.crash_budget
FROM {READY} r LEFT JOIN {JOBS} j ON j.id = r.job_id
WHERE r.queue = ? ORDER BY r.priority DESC, r.seq LIMIT ?
"""
# A list is one parameter, so one prepared statement whatever its length.
_AMONG = "IN (SELECT value FROM json_each(?))"
_HELD = f"FROM {LOCKS} WHERE id {_AMONG} AND lease_no = ? AND name = ''"
_END = f"DELETE {_HELD}"
_HOLDERS = f"SELECT count(*), count(worker_id), min(worker_id), max(worker_id) {_HELD}"
_LIVES = f"SELECT 1 FROM {WORKERS} WHERE id = ? AND state IN ({', '.join('?' * len(ALIVE))})"
_IS_DUE = f"SELECT 1 FROM {DELAYED} WHERE due_at <= ? LIMIT 1"
_MANY = 10
"""Leases from which on it pays to ask first whether one worker holds all of them: RETURNING costs as much again."""


class SQLiteDialect(Completions):
    ids_at_once = 100_000  # a list is one value
    for_update = ""
    skip_locked = ""
    _log: Log | None = None
    """While a transaction of our own is open."""

    def to_id(self, value: UUID | None) -> Any:
        return None if value is None else value.hex

    def from_id(self, value: Any) -> UUID:
        return uuid_of_hex(value) if isinstance(value, str) else super().from_id(value)

    def to_time(self, moment: datetime | None) -> Any:
        if moment is not None and moment.tzinfo is UTC:
            return str(moment.replace(tzinfo=None))  # what Django writes, at a fifth of the time
        return super().to_time(moment)

    def as_read(self, time_column: str) -> str:
        return f"{time_column} || ''"  # an expression: the driver's converter would raise for what is no time

    def from_time(self, value: Any) -> datetime:
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(f"{value}+00:00")  # what Django writes, and so do we
            except ValueError:
                pass
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
            taking_turns.begin(driver, lambda: driver.execute("BEGIN IMMEDIATE"))
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
        statistics.forget(connection)
        previous = connection.transaction_mode
        connection.transaction_mode = "IMMEDIATE"
        self._log = log = Log(connection)
        try:
            with ExitStack() as stack:
                block = transaction.atomic(using=connection.alias)
                with connection.wrap_database_errors:
                    taking_turns.begin(connection.connection, lambda: stack.enter_context(block))
                yield
        finally:
            self._log = None
            connection.transaction_mode = previous
            log.end()

    # -- statements --------------------------------------------------------------------------------------------------

    def fast_rows(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """A statement in the driver's own words; errors come out as Django's."""
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            rows: list[tuple[Any, ...]] = self.connection.connection.execute(sql, params).fetchall()
        return rows

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        whole = len(rows) - len(rows) % ROWS_AT_ONCE if _VALUES.search(sql) else 0
        pieces = [
            [value for row in rows[start : start + ROWS_AT_ONCE] for value in row]
            for start in range(0, whole, ROWS_AT_ONCE)
        ]
        self.connection.ensure_connection()
        driver = self.connection.connection
        with self.connection.wrap_database_errors:
            if pieces:
                driver.executemany(_native(sql, ROWS_AT_ONCE), pieces)
            if len(rows) > whole:
                driver.executemany(_native(sql, 1), rows[whole:])

    def _delete_rows(self, table: str, column: str, db_ids: Sequence[Any]) -> None:
        try:
            among = json.dumps(db_ids)
        except TypeError:  # bytes, in a row written by hand
            super()._delete_rows(table, column, db_ids)
        else:
            self.fast_rows(f"DELETE FROM {table} WHERE {column} {_AMONG}", [among])

    # -- claim and settle --------------------------------------------------------------------------------------------

    def is_alive(self, worker: UUID) -> bool:
        return bool(self.fast_rows(_LIVES, (self.to_id(worker), *ALIVE)))

    def promote(self) -> int:
        return super().promote() if self.fast_rows(_IS_DUE, (self.to_time(self.now()),)) else 0

    def _leave_log_alone(self, jobs: int) -> None:
        if self._log is not None:
            self._log.leave_alone(jobs)

    def claim(self, queue: str, limit: int, worker: UUID) -> list[Reservation]:
        line = self.fast_rows(_LINE, (queue, limit))
        if not line or not self.is_alive(worker):
            return []
        self._leave_log_alone(len(line))
        if any(row[6] is None for row in line):
            return super().claim(queue, limit, worker)  # takes places without a job out of the line
        now, holder = self.now(), self.to_id(worker)
        at, ms = self.to_time(now), (now - EPOCH) // MICROSECOND // 1_000
        self.insert_many(
            insert(LOCKS),
            [
                (db_id, "", holder, lease_no, queue, priority, seq, attempt, crashes, at)
                for db_id, lease_no, attempt, crashes, priority, seq, *_ in line
            ],
        )
        self._delete_rows(READY, "job_id", [row[0] for row in line])
        to_uuid, to_moment, made = self.from_id, cache(self.from_time), Reservation._make
        claimed = []
        for row in line:
            db_id, lease_no, attempt, crashes, priority, seq = row[:6]
            task, args, tries, timeout, retried, created, budget = row[7:]
            place = to_uuid(db_id), lease_no, attempt, crashes, queue, priority
            call = task, args, tries, timeout, retried, to_moment(created), now
            claimed.append(made((*place, *call, max(0, ms - seq // 1_000_000), budget)))
        return claimed

    def end_leases(self, lease_no: int, ids: Sequence[Any]) -> Sequence[tuple[Any, Any]]:
        self._leave_log_alone(len(ids))
        among = json.dumps(ids)
        if len(ids) >= _MANY:
            [(count, known, worker, last)] = self.fast_rows(_HOLDERS, (among, lease_no))
            if count == known == len(ids) and worker == last:
                self.fast_rows(_END, (among, lease_no))
                return [(db_id, worker) for db_id in ids]
        return self.fast_rows(f"{_END} RETURNING id, worker_id", (among, lease_no))


@lru_cache(maxsize=64)
def _native(sql: str, rows: int) -> str:
    """A statement with the driver's marks, and so many rows after VALUES instead of one."""
    return _VALUES.sub(lambda found: "VALUES " + ", ".join([found[1]] * rows), sql).replace("%s", "?")
