"""MariaDB and MySQL: READ COMMITTED, rows deleted by primary key in order, and deadlocks tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error

from django_jobqueue.jobs.ids import uuid_of_hex
from django_jobqueue.queues.base import Reservation
from django_jobqueue.queues.orm.completing import Completions
from django_jobqueue.queues.orm.dialect import MAX_INT, MAX_SMALLINT
from django_jobqueue.queues.orm.rows import COLUMNS, JOBS, LOCKS, READY, marks
from django_jobqueue.queues.orm.values import EPOCH, MICROSECOND

T = TypeVar("T", int, float)
_Call = tuple[str, str, int, float | None, int, datetime, int | None]
_DEADLOCK = 1213
_LOCK_WAIT_TIMEOUT = 1205
_TOGETHER = 250
_LONGEST = 1_000_000
"""Characters in one INSERT. One row that is longer has one of its own."""
_VALUES = re.compile(r"VALUES (\(.*?\))")
_IS_HARMLESS = re.compile(r"[ -$&(-\[\]-~]*").fullmatch
"""Printable ASCII without the single quote, the backslash and the percent sign."""
# What can have no space in it is read as one text, the id at its end: a driver in Python takes its time for each value.
_LINE = f"""
SELECT CONCAT_WS(' ', priority, seq, attempt, lease_no, crashes, job_id) FROM {READY}
WHERE queue = %s ORDER BY priority DESC, seq LIMIT {{limit}} {{skip_locked}}
"""
_OF_JOB = "max_attempts, times_retried, IFNULL(timeout, '-'), IFNULL(crash_budget, '-'), created_at, id"
_LEASE = f"""
INSERT INTO {LOCKS} ({", ".join(COLUMNS[LOCKS])})
SELECT job_id, '', %s, LEAST(lease_no + 1, {MAX_INT}), queue, priority, seq, LEAST(attempt + 1, {MAX_SMALLINT}),
       crashes, %s
FROM {READY} WHERE job_id IN
"""


class MySQLDialect(Completions):
    insert_ignore_verb = "INSERT IGNORE INTO"
    insert_ignore_tail = ""

    @property
    def returns_inserted(self) -> bool:  # type: ignore[override]
        """MariaDB can say what it inserted; MySQL can't."""
        return bool(self.connection.mysql_is_mariadb)

    def to_id(self, value: UUID | None) -> Any:
        if value is None:
            return None
        return str(value) if self.connection.features.has_native_uuid_field else value.hex

    def to_time(self, moment: datetime | None) -> Any:
        if moment is not None and moment.tzinfo is UTC:
            return str(moment.replace(tzinfo=None))  # what Django writes, at a fifth of the time
        return super().to_time(moment)

    def as_read(self, time_column: str) -> str:
        return f"CAST({time_column} AS CHAR)"  # a driver in Python takes its time to make a datetime

    def from_time(self, value: Any) -> datetime:
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(f"{value}+00:00")
            except ValueError:  # 0000-00-00
                value = None
        return super().from_time(value)

    # -- statements --------------------------------------------------------------------------------------------------

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(*_filled(sql, params))
            return int(cursor.rowcount)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(*_filled(sql, params))
            return list(cursor.fetchall())

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Many rows in one statement, which is no longer than a server takes by default."""
        if not _VALUES.search(sql):
            super().insert_many(sql, rows)
            return
        piece, length = list[Sequence[Any]](), 0
        for row in rows:
            size = sum(len(value) for value in row if value.__class__ is str)
            if piece and length + size > _LONGEST:
                self._insert(sql, piece)
                piece, length = [], 0
            piece.append(row)
            length += size
        if piece:
            self._insert(sql, piece)

    def _insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        many = _VALUES.sub(lambda found: "VALUES " + ", ".join([found[1]] * len(rows)), sql)
        self.execute(many, [value for row in rows for value in row])

    # -- claim and settle --------------------------------------------------------------------------------------------

    def claim(self, queue: str, limit: int, worker: UUID) -> list[Reservation]:
        """The leases are made by the server, of the places in the line that this transaction has locked."""
        found = self.rows(_LINE.format(limit=int(limit), skip_locked=self.skip_locked), [queue])
        if not found or not self.is_alive(worker):
            return []
        line = [place.split(" ", 5) for (place,) in found]
        places = sorted(place[5] for place in line)
        jobs = self._called([place[5] for place in line])
        leased = places if len(jobs) == len(line) else [db_id for db_id in places if db_id in jobs]
        now = self.now()
        if leased:  # a place in the line without a job: nothing to run, taken out with the rest
            lease = f"{_LEASE} ({marks(len(leased))})"
            self.execute(lease, [self.to_id(worker), self.to_time(now), *leased])
        self._delete_rows(READY, "job_id", places)
        return [_claimed(queue, place, jobs[place[5]], now) for place in line if place[5] in jobs]

    def _called(self, db_ids: Sequence[str]) -> dict[str, _Call]:
        """What these jobs are, by the database's id of each."""
        among = marks(len(db_ids))
        rows = self.rows(f"SELECT CONCAT_WS(' ', {_OF_JOB}), task, args FROM {JOBS} WHERE id IN ({among})", db_ids)
        calls: dict[str, _Call] = {}
        for values, task, args in rows:
            most, retried, timeout, budget, day, clock, db_id = values.split(" ", 6)
            created = self.from_time(f"{day} {clock}")
            calls[db_id] = (task, args, int(most), _number(float, timeout), int(retried), created, _number(int, budget))
        return calls

    def end_leases(self, lease_no: int, ids: Sequence[Any]) -> Sequence[tuple[Any, Any]]:
        held = f"FROM {LOCKS} WHERE id IN ({marks(len(ids))}) AND lease_no = %s AND name = ''"
        params = [*ids, lease_no]
        if self.connection.mysql_is_mariadb:
            return self.rows(f"DELETE {held} RETURNING id, worker_id", params)
        leases = self.rows(f"SELECT id, worker_id {held} FOR UPDATE", params)
        if leases:
            self.execute(f"DELETE {held}", params)
        return leases

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextmanager
    def given_up_when_frozen(self, seconds: int) -> Iterator[None]:
        """MariaDB can; it knows the limit of a session only, so it is put back. When that fails the connection is gone,
        or the transaction is: Django closes it or the next one sets the limit again.
        """
        if not self.connection.mysql_is_mariadb or self.connection.savepoint_ids:
            yield
            return
        before = self.rows("SELECT @@idle_transaction_timeout")[0][0]
        self.execute(f"SET SESSION idle_transaction_timeout = {int(seconds)}")
        try:
            yield
        finally:
            with suppress(Error):
                self.execute(f"SET SESSION idle_transaction_timeout = {int(before)}")

    def update_rows(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], same: str = ""
    ) -> None:
        """One statement for many rows, joined with their values: one for each would be a way to the server for each.

        From the values to the rows, by their key: the other way round the whole table is read, and the locks of others
        are waited for.
        """
        *names, key = columns
        first = f"SELECT {', '.join(f'%s AS {name}' for name in columns)}"
        assignments = ", ".join([*(f"t.{name} = v.{name}" for name in names), *filter(None, [same])])
        for start in range(0, len(rows), _TOGETHER):
            piece = rows[start : start + _TOGETHER]
            values = first + f" UNION ALL SELECT {marks(len(columns))}" * (len(piece) - 1)
            self.execute(
                f"UPDATE ({values}) v STRAIGHT_JOIN {table} t ON t.{key} = v.{key} SET {assignments}",
                [value for row in piece for value in row],
            )

    def ready_queues(self) -> list[str]:
        """A look for each queue: in one recursive statement the server reads the whole line for each of them."""
        names: list[str] = []
        [(name,)] = self.rows(f"SELECT MIN(queue) FROM {READY}")
        while name is not None:
            names.append(name)
            [(name,)] = self.rows(f"SELECT MIN(queue) FROM {READY} WHERE queue > %s", [name])
        return names

    def is_deadlock(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in (_DEADLOCK, _LOCK_WAIT_TIMEOUT)

    def now(self) -> datetime:
        moment: datetime = self.rows("SELECT UTC_TIMESTAMP(6)")[0][0]
        return moment.replace(tzinfo=UTC)


def _filled(sql: str, params: Sequence[Any]) -> tuple[str, list[Any]]:
    """The statement with the values in it that need nothing but quotes, and the others, which are left to the driver.

    One written in Python takes three times as long for each value, and there are forty of them for a job.
    """
    if not params or "%%" in sql:
        return sql, list(params)
    left: list[Any] = []
    texts: list[Any] = []
    for value in params:
        kind = value.__class__
        if kind is str and _IS_HARMLESS(value):
            texts.append(f"'{value}'")
        elif kind is int:
            texts.append(value)
        elif value is None:
            texts.append("NULL")
        else:
            texts.append("%s")
            left.append(value)
    return sql % tuple(texts), left


def _number(kind: Callable[[str], T], text: str) -> T | None:
    return None if text == "-" else kind(text)


def _claimed(queue: str, place: Sequence[str], call: _Call, now: datetime) -> Reservation:
    priority, seq, attempt, lease_no, crashes = map(int, place[:5])
    task, args, max_attempts, timeout, times_retried, created_at, crash_budget = call
    return Reservation(
        uuid_of_hex(place[5].replace("-", "")),
        min(lease_no + 1, MAX_INT),
        min(attempt + 1, MAX_SMALLINT),
        crashes,
        queue,
        priority,
        task,
        args,
        max_attempts,
        timeout,
        times_retried,
        created_at,
        now,
        max(0, (now - EPOCH) // MICROSECOND // 1_000 - seq // 1_000_000),
        crash_budget,
    )
