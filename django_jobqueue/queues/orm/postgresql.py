"""PostgreSQL: each step of a move is one set-based statement.

The hot statements go through psycopg's own cursor on Django's connection, with parameters bound by the server: arrays
of a few hundred values are not rendered into text first.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from django.utils import timezone
from psycopg.types.datetime import TimestamptzLoader

from django_jobqueue.queues.base import Move, Reservation, Settlement
from django_jobqueue.queues.orm import arrays, preparing
from django_jobqueue.queues.orm.crowd import Crowd, crowd_of
from django_jobqueue.queues.orm.dialect import MAX_INT, MAX_SMALLINT, PROMOTE_LIMIT
from django_jobqueue.queues.orm.inserting import CLOCK_NS, Insertions
from django_jobqueue.queues.orm.rows import COLUMNS, DELAYED, HISTORY, JOBS, LOCKS, READY, WORKERS


def _sane(column: str) -> str:
    """A time Python can hold: 'infinity' or a year 10000 in one row must not stop whoever reads the batch."""
    return f"(CASE WHEN {column} NOT BETWEEN '0001-01-02' AND '9999-12-30' THEN clock_timestamp() ELSE {column} END)"


# statement_timestamp(): clock_timestamp() is volatile, so no index condition; every poll would read all delayed jobs.
# Two ends: of a table without statistics the planner takes a third for what is before a moment, and would read all of
# it; for what is between two moments it takes a two-hundredth. Of a table that was never vacuumed that is less than the
# limit: all of it will be read, it thinks, and sorts all that are due each time. A limit that it does not know counts
# as a tenth, and the index that is in order as the quickest way there; the one around it is for the joins.
_PROMOTE = f"""
WITH due AS MATERIALIZED (
    SELECT job_id FROM (
        SELECT job_id FROM {DELAYED} WHERE due_at >= '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at, job_id LIMIT (SELECT {PROMOTE_LIMIT}) FOR UPDATE SKIP LOCKED
    ) d LIMIT {PROMOTE_LIMIT}
), gone AS (
    DELETE FROM {DELAYED} d USING due WHERE d.job_id = due.job_id
    RETURNING d.job_id, d.queue, d.priority, d.attempt, d.lease_no, d.crashes, d.due_at
)
INSERT INTO {READY} (job_id, queue, priority, seq, attempt, lease_no, crashes)
SELECT job_id, queue, priority, {CLOCK_NS} + row_number() OVER (ORDER BY due_at, job_id), attempt, lease_no, crashes
FROM gone
ON CONFLICT DO NOTHING
"""

# MATERIALIZED, or the planner may run the subquery again and pass its LIMIT (PostgreSQL bug 15715, not to be fixed).
# By ctid, and LATERAL … OFFSET 0: for 500 of 30,000 jobs the planner took hash joins: each claim read all that wait.
# A row that was changed since the snapshot is locked, not found again, and stays.
_WHOLE = "queue = %s"
# Behind that place, and what came since with a higher priority: two ranges of the index, so what is before is not read.
_FROM = tuple(f"queue = %s AND priority {than} %s AND seq >= %s" for than in (">", "="))
_CLAIM = f"""
WITH line AS MATERIALIZED (
    SELECT ctid FROM {READY}
    WHERE {_WHOLE}
      AND EXISTS (SELECT 1 FROM {WORKERS} w WHERE w.id = %s AND w.state IN ('running', 'quiet', 'stopping'))
    ORDER BY priority DESC, seq LIMIT %s FOR UPDATE OF {READY} SKIP LOCKED
), gone AS (
    DELETE FROM {READY} r WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM line))
    RETURNING r.job_id, r.queue, r.priority, r.seq, least(r.attempt::int + 1, {MAX_SMALLINT})::smallint AS attempt,
              least(r.lease_no::bigint + 1, {MAX_INT})::int AS lease_no, r.crashes
), job AS MATERIALIZED (
    SELECT gone.*, j.task, j.args, j.max_attempts, j.timeout, j.times_retried, j.crash_budget,
           {_sane("j.created_at")} AS created_at, clock_timestamp() AS claimed_at
    FROM gone CROSS JOIN LATERAL (SELECT * FROM {JOBS} WHERE id = gone.job_id OFFSET 0) j
), lease AS (
    INSERT INTO {LOCKS} (id, name, worker_id, lease_no, queue, priority, seq, attempt, crashes, claimed_at)
    SELECT job_id, '', %s, lease_no, queue, priority, seq, attempt, crashes, claimed_at FROM job
)
SELECT job_id, lease_no, attempt, crashes, queue, priority, task, args, max_attempts, timeout, times_retried,
       created_at, claimed_at,
       greatest(0, (date_part('epoch', claimed_at) * 1000)::bigint - seq / 1000000) AS wait_ms, crash_budget,
       seq
FROM job ORDER BY priority DESC, seq
"""
_CLAIM_FROM = tuple(_CLAIM.replace(_WHOLE, where, 1) for where in _FROM)
# In order, or the planner reads the table from its beginning, where the dead ones are: nearly every row would do.
_ANY_FROM = tuple(f"SELECT 1 FROM {READY} WHERE {where} ORDER BY priority DESC, seq LIMIT 1" for where in _FROM)

# Of each queue the first place, in order, for the same reason.
_FIRST = f"(SELECT 1 FROM {READY} WHERE {_WHOLE} ORDER BY priority DESC, seq LIMIT 1)"
_FIRST_OF_ALL = f"(SELECT 1 FROM {READY} ORDER BY queue, priority DESC, seq LIMIT 1)"
_DUE = "due_at >= '-infinity' AND due_at <= statement_timestamp()"
_IS_DUE = f"(SELECT 1 FROM {DELAYED} WHERE {_DUE} ORDER BY due_at LIMIT 1)"

# How many leases were held, and which, if some were not: nearly always all are, and hundreds of ids need not be read.
# And whether anything is due: nearly always nothing is, and the claim that follows need not promote.
# By lists of ids: where all jobs of a moment ago are dead but can't be removed, the planner takes a table for one row,
# and to join that with the batch it would walk past every place there was.
_COMPLETE = f"""
WITH done AS MATERIALIZED (
    SELECT * FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::int[], %s::bigint[], %s::int[])
         AS d (id, lease_no, result, start_ms, run_ms, memory_kb)
), lease AS (
    DELETE FROM {LOCKS} k USING done d
    WHERE k.id = d.id AND k.lease_no = d.lease_no AND k.name = '' AND k.id = ANY (ARRAY(SELECT id FROM done))
    RETURNING k.id, k.lease_no, k.attempt, k.worker_id, k.claimed_at, k.seq, d.result, d.start_ms, d.run_ms, d.memory_kb
), job AS MATERIALIZED (
    SELECT lease.*, j.queue, j.task, j.args, j.priority, {_sane("j.created_at")} AS created_at
    FROM lease CROSS JOIN LATERAL (SELECT * FROM {JOBS} WHERE id = lease.id OFFSET 0) j
), gone AS (
    DELETE FROM {JOBS} WHERE id = ANY (ARRAY(SELECT id FROM lease))
), record AS (
    INSERT INTO {HISTORY} ({", ".join(COLUMNS[HISTORY])})
    SELECT id, lease_no, attempt, queue, task, args, priority, 'completed', result, '', '', '',
           greatest(0, (date_part('epoch', claimed_at) * 1000)::bigint - seq / 1000000) + start_ms,
           run_ms, memory_kb, worker_id, created_at, claimed_at + start_ms * interval '1 ms',
           claimed_at + (start_ms + run_ms) * interval '1 ms'
    FROM job
    ON CONFLICT DO NOTHING
)
SELECT NULL, count(*), {_IS_DUE} IS NOT NULL FROM lease
UNION ALL
SELECT id, lease_no, NULL FROM lease WHERE %s > (SELECT count(*) FROM lease)
"""
# None of these records is there already. Should one be, the move is undone and tried again with the other.
_COMPLETE_NEW = _COMPLETE.replace("    ON CONFLICT DO NOTHING\n", "")


class PostgreSQLDialect(Insertions):
    insert_chunk = 1_000

    def is_deadlock(self, error: Exception) -> bool:
        return isinstance(error.__cause__, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure)

    def repeated(self, sql: str, params: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """As `fast`, for what a worker sends with each batch: it is planned once in a session."""
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            return preparing.execute(psycopg.Cursor(self.connection.connection), sql, params)

    def repeated_rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connection.wrap_database_errors:
            return self.repeated(sql, params).fetchall()

    def given_up_when_frozen(self, seconds: int) -> AbstractContextManager[None]:
        if not self.connection.savepoint_ids:
            self.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{int(seconds)}s'")
        return nullcontext()

    def update_rows(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], same: str = ""
    ) -> None:
        *names, key = columns
        assignments = ", ".join([*(f"{name} = v.{name}" for name in names), *filter(None, [same])])
        arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
        self.fast(
            f"UPDATE {table} t SET {assignments} FROM unnest({arrays}) AS v ({', '.join(columns)}) "
            f"WHERE t.{key} = v.{key}",
            [list(column) for column in zip(*rows, strict=True)],
        )

    def to_time(self, moment: datetime | None) -> Any:
        return moment

    def from_time(self, value: Any) -> datetime:
        """With USE_TZ off Django cuts the zone off: what is left is a local time, of which `fold` tells the rest."""
        if isinstance(value, datetime) and value.tzinfo is None:
            value = timezone.make_aware(value, timezone.get_default_timezone())
        return super().from_time(value)

    def now(self) -> datetime:
        return self.from_time(self.rows("SELECT clock_timestamp()")[0][0])

    def as_read(self, time_column: str) -> str:
        return _sane(time_column)

    def promote(self) -> int:
        return self.repeated(_PROMOTE).rowcount

    def look(self, queues: Sequence[str]) -> tuple[bool, bool]:
        """One statement. Looks first where the last claims have found something, if the way there is long."""
        for queue, place in self._crowd.places().items():
            if queue in queues or not queues:
                there = [queue, place.priority, place.seq]
                if any(self.repeated_rows(sql, there) for sql in _ANY_FROM):
                    return True, True
        first = f"coalesce({', '.join([_FIRST] * len(queues))})" if queues else _FIRST_OF_ALL
        ((is_ready, is_due),) = self.repeated_rows(f"SELECT {first} IS NOT NULL, {_IS_DUE} IS NOT NULL", queues)
        return is_ready, is_due

    def ready_queues(self) -> list[str]:
        if names := self._crowd.names():
            return names
        begun = time.monotonic()
        names = super().ready_queues()
        self._crowd.saw_names(names, time.monotonic() - begun, self._dead_tuples)
        return names

    def claim(self, queue: str, limit: int, worker: UUID) -> list[Reservation]:
        line = self._claim_there(queue, limit, worker) or self._claim_anywhere(queue, limit, worker)
        if self.connection.timezone is UTC:
            return line
        to_utc = self.from_time
        return [one._replace(created_at=to_utc(one.created_at), claimed_at=to_utc(one.claimed_at)) for one in line]

    def _claimed_rows(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """With psycopg's own reader of moments: Django's is Python, and is called twice for each job."""
        self.connection.ensure_connection()
        cursor = psycopg.Cursor(self.connection.connection)
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        with self.connection.wrap_database_errors:
            return preparing.execute(cursor, sql, params).fetchall()

    def _claim_there(self, queue: str, limit: int, worker: UUID) -> list[Reservation]:
        """From where the last claim stopped, if the whole line is long to look at. See `crowd.py`."""
        if (place := self._crowd.place(queue)) is None:
            return []
        rows: list[tuple[Any, ...]] = []
        for sql in _CLAIM_FROM:
            if len(rows) < limit:
                there = [queue, place.priority, place.seq]
                rows += self._claimed_rows(sql, [*there, worker, limit - len(rows), worker])
        line = [Reservation(*row[:-1]) for row in rows]
        if line:
            self._crowd.moved_on(queue, place, (line[-1].priority, rows[-1][-1]))
        return line

    def _claim_anywhere(self, queue: str, limit: int, worker: UUID) -> list[Reservation]:
        begun = time.monotonic()
        rows = self._claimed_rows(_CLAIM, [queue, worker, limit, worker])
        seconds = time.monotonic() - begun
        line = [Reservation(*row[:-1]) for row in rows]
        if line:
            self._crowd.saw_line(queue, (line[-1].priority, rows[-1][-1]), seconds, self._dead_tuples)
        return line

    @property
    def _crowd(self) -> Crowd:
        return crowd_of(self.connection.alias)

    def _dead_tuples(self) -> int:
        """Of the line, as the server has counted them: now and then, and never to the letter."""
        return int(self.rows("SELECT pg_stat_get_dead_tuples(to_regclass(%s))", [READY])[0][0] or 0)

    def settle_completed(self, settlements: Sequence[Settlement]) -> Collection[tuple[UUID, int]] | None:
        done = [one for one in settlements if one.move is Move.COMPLETED]
        if not done:
            return []
        keys = [(one.reservation.job_id, one.reservation.lease_no) for one in done]
        ids, lease_nos = zip(*keys, strict=True)
        columns = [
            arrays.uuids(ids),
            arrays.integers(lease_nos),
            arrays.texts([one.result for one in done]),
            arrays.integers([one.start_ms for one in done]),
            arrays.integers([one.run_ms for one in done]),
            arrays.integers([one.memory_kb for one in done]),
        ]
        sql = _COMPLETE if self.is_careful else _COMPLETE_NEW
        rows = self.repeated_rows if len(done) <= preparing.FEW else self.fast_rows
        (_, count, is_due), *held = rows(sql, [*columns, len(done)])
        self.may_be_due = is_due or len(done) < len(settlements)
        return keys if count == len(done) else [row[:2] for row in held]
