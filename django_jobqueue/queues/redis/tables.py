"""What has ended, as rows: the statements that put a batch into the history and the dead letters, one set per database.

The store of the ORM writes the same tables inside its own moves. This one may not lean on it: a project can use Redis
without the driver the other needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from math import isfinite
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.utils import timezone

from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.columns import EXECUTION
from django_jobqueue.queues.redis.entries import Entry
from django_jobqueue.queues.redis.fitting import mended

_KEEPS_ARGS = {str(JobHistory.Outcome.COMPLETED), str(JobHistory.Outcome.CANCELLED)}
_OUTCOMES = {Move.COMPLETED: "completed", Move.CANCELLED: "cancelled", Move.RETRY: "retrying", Move.SNOOZE: "snoozed"}

HISTORY = (*EXECUTION, "store")
LETTER = (
    "id",
    "lease_no",
    "attempt",
    "crashes",
    "queue",
    "task",
    "args",
    "priority",
    "max_attempts",
    "timeout",
    "unique_key",
    "concurrency_key",
    "times_retried",
    "crash_budget",
    "reason",
    "error_class",
    "error_message",
    "traceback",
    "fingerprint",
    "enqueued_at",
    "failed_at",
    "store",
)


class Tables:
    """One batch into both tables, in SQL that every database but PostgreSQL is given."""

    insert_ignore = "INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"
    replace_older = (
        "INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {excluded} "
        "WHERE excluded.lease_no > {table}.lease_no AND excluded.store = {table}.store"
    )

    def __init__(self, connection: Any, store: str) -> None:
        self.connection = connection
        self.store = store

    def write(self, entries: Sequence[Entry], mend: bool = False) -> None:
        """In the caller's transaction. The first statement writes: SQLite can't turn a reader into a writer."""
        dead = {(one.job_id, one.lease_no): one for one in entries if one.dead_reason is not None}
        living = [one for one in entries if one.dead_reason is None] if dead else entries
        if living:
            self.insert_history(self.rows(JobHistory, HISTORY, map(self.history_row, living), mend))
        if dead:
            rows = self.rows(JobHistory, HISTORY, map(self.history_row, dead.values()), mend)
            inserted = zip(dead, self.insert_new(rows), strict=True)
            new = [key for key, is_new in inserted if is_new or not self.is_recorded(dead[key])]
            latest = {job_id: dead[job_id, lease_no] for job_id, lease_no in sorted(new)}
            self.insert_letters(self.rows(DeadLetterJob, LETTER, map(self.letter_row, latest.values()), mend))

    def settled_rows(self, settled: Iterable[tuple[Settlement, UUID]]) -> list[tuple[Any, ...]]:
        """As `history_row` makes them of `values.entry`, in half the time: straight from what was settled.

        Nothing that dies is among them.
        """
        to_id, to_time, store = self.to_id, self.time_after, self.store
        rows = []
        for (job, move, result, error, _, _, start_ms, run_ms, memory_kb), holder in settled:
            is_over = move is Move.COMPLETED or move is Move.CANCELLED
            rows.append(
                (
                    to_id(job.job_id),
                    job.lease_no,
                    job.attempt,
                    job.queue,
                    job.task,
                    job.args if is_over else "",
                    job.priority,
                    "completed" if move is Move.COMPLETED else _OUTCOMES[move],
                    result,
                    error.class_path,
                    error.message,
                    error.traceback,
                    job.wait_ms + start_ms,
                    run_ms,
                    memory_kb,
                    to_id(holder),
                    to_time(job.created_at, 0),
                    to_time(job.claimed_at, start_ms),
                    to_time(job.claimed_at, start_ms + run_ms),
                    store,
                )
            )
        return rows

    def is_recorded(self, one: Entry) -> bool:
        """Whether the row under this lease number is this execution's.

        It is another's when a number was given out twice: by a server that lost its last writes, or for an id that was
        pushed again long after its end. Such a death has no row in the history, but must not go without its letter.
        """
        known = JobHistory._default_manager.using(self.connection.alias).filter(
            job_id=one.job_id, lease_no=one.lease_no
        )
        for outcome, worker_id, started_at in known.values_list("outcome", "worker_id", "started_at"):
            return (outcome, worker_id) == (one.outcome, one.worker_id) and _is_same_moment(started_at, one.started_at)
        return False

    # -- rows --------------------------------------------------------------------------------------------------------

    def rows(
        self, model: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]], mend: bool
    ) -> list[Sequence[Any]]:
        return [mended(model, columns, row) for row in rows] if mend else list(rows)

    def history_row(self, one: Entry) -> tuple[Any, ...]:
        error, to_time = one.error, self.to_time
        return (
            self.to_id(one.job_id),
            one.lease_no,
            one.attempt,
            one.queue,
            one.task,
            one.args if one.outcome in _KEEPS_ARGS else "",
            one.priority,
            one.outcome,
            one.result,
            error.class_path,
            error.message,
            error.traceback,
            one.wait_ms,
            one.run_ms,
            one.memory_kb,
            None if one.worker_id is None else self.to_id(one.worker_id),
            to_time(one.created_at),
            None if one.started_at is None else to_time(one.started_at),
            to_time(one.finished_at),
            self.store,
        )

    def letter_row(self, one: Entry) -> tuple[Any, ...]:
        error = one.error
        return (
            self.to_id(one.job_id),
            one.lease_no,
            one.attempt,
            one.crashes,
            one.queue,
            one.task,
            one.args,
            one.priority,
            one.max_attempts,
            one.timeout if one.timeout is None or isfinite(one.timeout) else None,
            one.unique_key,
            one.concurrency_key,
            one.times_retried,
            one.crash_budget,
            one.dead_reason,
            error.class_path,
            error.message,
            error.traceback,
            error.fingerprint,
            self.to_time(one.created_at),
            self.to_time(one.finished_at),
            self.store,
        )

    def to_id(self, value: UUID) -> Any:
        return value.hex

    @staticmethod
    def to_time(moment: datetime) -> Any:
        """In UTC, as `models/moments.py` has it."""
        return moment.astimezone(UTC).isoformat(" ")[:-6]  # what Django writes, at a tenth of the time

    @property
    def time_after(self) -> Callable[[datetime, int], Any]:
        """`to_time` of so many milliseconds after a moment: a batch was claimed at one, and short jobs end together."""
        return _time_after(self.to_time)

    # -- statements --------------------------------------------------------------------------------------------------

    def insert_history(self, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(_statement(self.insert_ignore, JobHistory, HISTORY), rows)

    def insert_new(self, rows: Sequence[Sequence[Any]]) -> list[bool]:
        """As `insert_history`; for each row whether it was not there before."""
        sql = _statement(self.insert_ignore, JobHistory, HISTORY)
        new: list[bool] = []
        with self.connection.cursor() as cursor:
            for row in rows:
                cursor.execute(sql, row)
                new.append(cursor.rowcount == 1)
        return new

    def insert_letters(self, rows: Sequence[Sequence[Any]]) -> None:
        """A letter of an earlier death is replaced, a later one or that of another store stays."""
        if rows:
            with self.connection.cursor() as cursor:
                cursor.executemany(_statement(self.replace_older, DeadLetterJob, LETTER), rows)


class MySQLTables(Tables):
    insert_ignore = "INSERT IGNORE INTO {table} ({columns}) VALUES ({marks})"
    replace_older = "INSERT INTO {table} ({columns}) VALUES ({marks}) ON DUPLICATE KEY UPDATE {if_older}"

    def to_id(self, value: UUID) -> Any:
        return str(value) if self.connection.features.has_native_uuid_field else value.hex


class PostgreSQLTables(Tables):
    """A batch is one statement with one parameter, as JSON: a third of the time that arrays of the columns take."""

    insert_ignore = (
        "INSERT INTO {table} ({columns}) SELECT {casts} FROM jsonb_array_elements(%s::jsonb) v ON CONFLICT DO NOTHING"
    )
    replace_older = (
        "INSERT INTO {table} ({columns}) SELECT {casts} FROM jsonb_array_elements(%s::jsonb) v "
        "ON CONFLICT (id) DO UPDATE SET {excluded} "
        "WHERE excluded.lease_no > {table}.lease_no AND excluded.store = {table}.store"
    )

    @staticmethod
    def to_time(moment: datetime) -> Any:
        return moment.isoformat()  # with its offset: the columns have time zones, with USE_TZ and without

    def insert_history(self, rows: Sequence[Sequence[Any]]) -> None:
        self._run(_statement(self.insert_ignore, JobHistory, HISTORY), rows)

    def insert_new(self, rows: Sequence[Sequence[Any]]) -> list[bool]:
        sql = f"{_statement(self.insert_ignore, JobHistory, HISTORY)} RETURNING job_id, lease_no"
        new = {(job_id.hex, lease_no) for job_id, lease_no in self._run(sql, rows, is_read=True)}
        return [(row[0], row[1]) in new for row in rows]

    def insert_letters(self, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._run(_statement(self.replace_older, DeadLetterJob, LETTER), rows)

    def _run(self, sql: str, rows: Sequence[Sequence[Any]], is_read: bool = False) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [json.dumps(rows, ensure_ascii=False, separators=(",", ":"))])
            return list(cursor.fetchall()) if is_read else []


def _is_same_moment(stored: datetime | None, moment: datetime | None) -> bool:
    if stored is None or moment is None:
        return stored is moment
    if timezone.is_naive(stored):
        stored = timezone.make_aware(stored, timezone.get_default_timezone())
    return abs(stored - moment) < timedelta(milliseconds=1)


def tables_of(database: str, store: str) -> Tables:
    """The statements of this database, over the calling thread's connection to it."""
    connection = connections[database]
    kinds: dict[str, type[Tables]] = {"postgresql": PostgreSQLTables, "mysql": MySQLTables}
    return kinds.get(connection.vendor, Tables)(connection, store)


@cache
def _time_after(to_time: Callable[[datetime], Any]) -> Callable[[datetime, int], Any]:
    @lru_cache(maxsize=1_024)
    def time_after(moment: datetime, ms: int) -> Any:
        return to_time(moment + timedelta(milliseconds=ms))

    return time_after


@lru_cache
def _statement(template: str, model: Any, columns: tuple[str, ...]) -> str:
    others = [name for name in columns if name not in ("id", "lease_no")]
    changed = [*others, "lease_no"]  # last: MySQL sets one column after the other, and the others look at it
    older = "VALUES(lease_no) > lease_no AND VALUES(store) = store"
    return template.format(
        table=model._meta.db_table,
        columns=", ".join(columns),
        marks=", ".join(["%s"] * len(columns)),
        casts=", ".join(f"(v->>{n})::{_cast(model, name)}" for n, name in enumerate(columns)),
        excluded=", ".join(f"{name} = excluded.{name}" for name in changed),
        if_older=", ".join(f"{name} = IF({older}, VALUES({name}), {name})" for name in changed),
    )


def _cast(model: Any, column: str) -> str:
    """The widest type of its kind: a value that does not fit the column must be refused, not cut."""
    kinds = {"UUIDField": "uuid", "DateTimeField": "timestamptz", "FloatField": "float8"}
    field = model._meta.get_field(column)
    is_text = isinstance(field, models.CharField | models.TextField)
    return "text" if is_text else kinds.get(field.get_internal_type(), "bigint")
