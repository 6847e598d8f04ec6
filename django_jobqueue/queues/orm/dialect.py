"""The statements every database understands. Each method is one step of a move, inside the caller's transaction.

Subclasses say what their database does differently. Lists of ids are cut into pieces of `CHUNK`, sorted, so that
two transactions lock rows in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DelayedJob, JobHistory, WorkerProcess
from django_jobqueue.queues.base import Reservation, Settlement
from django_jobqueue.queues.orm.rows import COLUMNS, DEAD, DELAYED, HISTORY, JOBS, LOCKS, READY, WORKERS, insert, marks
from django_jobqueue.queues.orm.values import JobRow, Lease, Values

CHUNK = 500
PROMOTE_LIMIT = 1_000
MAX_SMALLINT = 32_767
MAX_INT = 2_147_483_647
RECLAIM_LIMIT = 500
FINAL = tuple(str(outcome) for outcome in JobHistory.FINAL)
ALIVE = tuple(map(str, WorkerProcess.ALIVE))


class Dialect(Values):
    """Portable SQL over one Django connection."""

    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    insert_ignore_verb = "INSERT INTO"
    insert_ignore_tail = "ON CONFLICT DO NOTHING"
    returns_inserted = True
    insert_chunk = 80
    may_be_due = True
    """Whether a promotion may find anything in this move. A settlement can have seen that it would not."""

    is_careful = False
    """Whether this move has met a row that could not be there, and is tried once more."""

    # -- transactions ------------------------------------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[Any]:
        atomic: AbstractContextManager[None] = transaction.atomic(using=self.connection.alias)
        return atomic

    def push_transaction(self) -> AbstractContextManager[Any]:
        """What surrounds a push of one piece: a transaction, unless the database needs none."""
        return self.transaction()

    def given_up_when_frozen(self, seconds: int) -> AbstractContextManager[None]:
        """Inside, in a transaction: the database ends it when it has waited so long for the next statement, if it can.

        Not in somebody else's transaction, who may have reasons to be slow.
        """
        return nullcontext()

    def is_deadlock(self, error: Exception) -> bool:
        """Whether the database gave up this transaction so that another could go on; trying again is right."""
        return False

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement that gives no rows; the number of rows it changed."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    def update_rows(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], same: str = ""
    ) -> None:
        """Write rows by their key, which is the last column. `columns` gives each column's type on PostgreSQL.

        `same`: assignments that are the same for all of them.
        """
        *names, key = columns
        assignments = ", ".join([*(f"{name} = %s" for name in names), *filter(None, [same])])
        self.insert_many(f"UPDATE {table} SET {assignments} WHERE {key} = %s", rows)

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            with self.connection.cursor() as cursor:
                cursor.executemany(sql, rows)

    def chunks(self, ids: Iterable[UUID]) -> Iterator[list[Any]]:
        ordered = sorted({self.to_id(one) for one in ids})
        for start in range(0, len(ordered), CHUNK):
            yield ordered[start : start + CHUNK]

    def delete_ids(self, table: str, column: str, ids: Iterable[UUID]) -> None:
        for piece in self.chunks(ids):
            self._delete_rows(table, column, piece)

    def _delete_rows(self, table: str, column: str, db_ids: Sequence[Any]) -> None:
        self.execute(f"DELETE FROM {table} WHERE {column} IN ({marks(len(db_ids))})", db_ids)

    # -- push --------------------------------------------------------------------------------------------------------

    def insert_jobs(self, payloads: Sequence[JobPayload], fresh: bool = False) -> set[UUID]:
        """Store what is new and give the ids stored. Nothing is stored for an id or a unique key that is known.

        `fresh`: nobody can know these ids, so it is not looked for them. A unique key is always looked at.
        """
        now = self.now()
        known = set() if fresh else self.known_ids(payload.id for payload in payloads)
        new = {payload.id: payload for payload in payloads if payload.id not in known}
        stored = self.insert_new([self.job_values(payload, now) for payload in new.values()])
        kept = [payload for payload in new.values() if payload.id in stored]
        self._insert_ready([payload for payload in kept if not payload.is_delayed], now)
        self._insert_delayed([payload for payload in kept if payload.is_delayed], now)
        return stored

    def insert_alike(self, template: JobPayload, ids: Sequence[UUID], calls: Sequence[str]) -> None:
        """Store plain jobs that differ by their new ids and their encoded arguments only."""
        self.insert_jobs([template.again(args, job_id) for job_id, args in zip(ids, calls, strict=True)], fresh=True)

    def known_ids(self, ids: Iterable[UUID]) -> set[UUID]:
        """Which of these ids are live, dead, or over for good."""
        known: set[UUID] = set()
        for piece in self.chunks(ids):
            among = marks(len(piece))
            known.update(
                self.from_id(row[0])
                for row in self.rows(
                    f"SELECT id FROM {JOBS} WHERE id IN ({among}) UNION ALL "
                    f"SELECT id FROM {DEAD} WHERE id IN ({among}) UNION ALL "
                    f"SELECT job_id FROM {HISTORY} WHERE job_id IN ({among}) AND outcome IN ({marks(len(FINAL))})",
                    [*piece, *piece, *piece, *FINAL],
                )
            )
        return known

    def insert_new(self, rows: Sequence[tuple[Any, ...]]) -> set[UUID]:
        """Insert jobs that meet no conflict. Told by the database row by row: no lost race may look like success."""
        sql = insert(JOBS, self.insert_ignore_verb, self.insert_ignore_tail)
        if not self.returns_inserted:
            return {self.from_id(row[0]) for row in rows if self.execute(sql, row) == 1}
        stored: set[UUID] = set()
        one = f"({marks(len(COLUMNS[JOBS]))})"
        for start in range(0, len(rows), self.insert_chunk):
            piece = rows[start : start + self.insert_chunk]
            many = sql.replace(one, ", ".join([one] * len(piece))) + " RETURNING id"
            stored.update(self.from_id(row[0]) for row in self.rows(many, [value for row in piece for value in row]))
        return stored

    def job_values(self, payload: JobPayload, now: datetime) -> tuple[Any, ...]:
        return (
            self.to_id(payload.id),
            payload.queue,
            payload.task,
            payload.args,
            payload.priority,
            payload.max_attempts,
            payload.timeout,
            payload.crash_budget,
            payload.unique_key,
            payload.concurrency_key,
            payload.times_retried,
            self.to_time(now),
        )

    def _insert_ready(self, payloads: Sequence[JobPayload], now: datetime) -> None:
        places = self.places(now, len(payloads))
        rows = [
            (self.to_id(job.id), job.queue, job.priority, seq, 0, job.lease_no, 0)
            for job, seq in zip(payloads, places, strict=True)
        ]
        self.insert_many(insert(READY), rows)

    def _insert_delayed(self, payloads: Sequence[JobPayload], now: datetime) -> None:
        reason = str(DelayedJob.Reason.SCHEDULED)
        rows = [
            (
                self.to_id(job.id),
                job.queue,
                job.priority,
                self.to_time(job.run_after or now + timedelta(seconds=job.delay or 0)),
                reason,
                "",
                0,
                job.lease_no,
                0,
            )
            for job in payloads
        ]
        self.insert_many(insert(DELAYED), rows)

    def announce(self, queues: Iterable[str]) -> None:
        """Wake idle workers of these queues, where the database can."""

    # -- promote -----------------------------------------------------------------------------------------------------

    def promote(self) -> int:
        """Move what is due from DELAYED to READY, oldest first."""
        now = self.now()
        due = self.rows(
            f"SELECT job_id, queue, priority, attempt, lease_no, crashes FROM {DELAYED} WHERE due_at <= %s "
            f"ORDER BY due_at, job_id LIMIT {PROMOTE_LIMIT} {self.skip_locked}",
            [self.to_time(now)],
        )
        if due:
            self.make_ready(due, now)
            self.delete_ids(DELAYED, "job_id", (self.from_id(row[0]) for row in due))
        return len(due)

    def make_ready(self, rows: Sequence[Sequence[Any]], now: datetime) -> None:
        """Put (job_id, queue, priority, attempt, lease_no, crashes) at the end of the line."""
        places = self.places(now, len(rows))
        ready = [(*row[:3], seq, *row[3:]) for row, seq in zip(rows, places, strict=True)]
        self.insert_many(insert(READY, self.insert_ignore_verb, self.insert_ignore_tail), ready)

    # -- claim -------------------------------------------------------------------------------------------------------

    def look(self, queues: Sequence[str]) -> tuple[bool, bool]:
        """Whether a claim would find anything, and whether a promotion may: a read, so idle polling writes nothing."""
        among = f"WHERE queue IN ({marks(len(queues))})" if queues else ""
        if self.rows(f"SELECT 1 FROM {READY} {among} LIMIT 1", queues):
            return True, True
        return False, bool(self.rows(f"SELECT 1 FROM {DELAYED} WHERE due_at <= %s LIMIT 1", [self.to_time(self.now())]))

    def ready_queues(self) -> list[str]:
        """Queues with ready jobs, by name: one index probe per queue, however long the line."""
        found = self.rows(
            f"WITH RECURSIVE names (name) AS (SELECT MIN(queue) FROM {READY} UNION ALL "
            f"SELECT (SELECT MIN(queue) FROM {READY} WHERE queue > names.name) "
            f"FROM names WHERE names.name IS NOT NULL) "
            f"SELECT name FROM names WHERE name IS NOT NULL"
        )
        return [row[0] for row in found]

    def is_alive(self, worker: UUID) -> bool:
        found = self.rows(
            f"SELECT 1 FROM {WORKERS} WHERE id = %s AND state IN ({marks(len(ALIVE))})", [self.to_id(worker), *ALIVE]
        )
        return bool(found)

    def claim(self, queue: str, limit: int, worker: UUID) -> list[Reservation]:
        """Move up to `limit` jobs from READY to LEASED, by priority, then first in first out.

        The plan must read `jobqueue_ready_line` in order and stop after `limit` rows.
        """
        line = self.rows(
            f"SELECT job_id, priority, seq, attempt, lease_no, crashes FROM {READY} WHERE queue = %s "
            f"ORDER BY priority DESC, seq LIMIT {int(limit)} {self.skip_locked}",
            [queue],
        )
        if not line or not self.is_alive(worker):
            return []
        now = self.now()
        jobs = self._job_rows([row[0] for row in line])
        claimed: list[Reservation] = []
        leases: list[tuple[Any, ...]] = []
        for db_id, priority, seq, attempt, lease_no, crashes in line:
            job = jobs.get(db_id)
            if job is None:  # a place in the line without a job: nothing to run, taken out with the rest
                continue
            number, tries = min(lease_no + 1, MAX_INT), min(attempt + 1, MAX_SMALLINT)
            lease = Lease(job.job_id, number, worker, queue, priority, seq, tries, crashes, now)
            leases.append(self._lease_values(lease))
            claimed.append(reservation(lease, job))
        self.insert_many(insert(LOCKS), leases)
        self._delete_rows(READY, "job_id", sorted(row[0] for row in line))
        return claimed

    def _lease_values(self, lease: Lease) -> tuple[Any, ...]:
        return (
            self.to_id(lease.job_id),
            "",
            self.to_id(lease.worker_id),
            lease.lease_no,
            lease.queue,
            lease.priority,
            lease.seq,
            lease.attempt,
            lease.crashes,
            self.to_time(lease.claimed_at),
        )

    def jobs(self, ids: Iterable[UUID]) -> dict[UUID, JobRow]:
        found = (self._job_rows(piece) for piece in self.chunks(ids))
        return {job.job_id: job for rows in found for job in rows.values()}

    def _job_rows(self, db_ids: Sequence[Any]) -> dict[Any, JobRow]:
        """Jobs by their id as the database has it: making UUIDs is a good part of a claim's cost."""
        rows = self.rows(
            f"SELECT id, task, args, max_attempts, timeout, times_retried, crash_budget, {self.as_read('created_at')} "
            f"FROM {JOBS} WHERE id IN ({marks(len(db_ids))})",
            db_ids,
        )
        return {row[0]: JobRow._make((self.from_id(row[0]), *row[1:7], self.from_time(row[7]))) for row in rows}

    def crash_budgets(self, ids: Iterable[UUID]) -> dict[UUID, int]:
        """How many workers these jobs may bring down, of those for which the project's setting does not count."""
        found: dict[UUID, int] = {}
        for piece in self.chunks(ids):
            rows = self.rows(
                f"SELECT id, crash_budget FROM {JOBS} WHERE id IN ({marks(len(piece))}) AND crash_budget IS NOT NULL",
                piece,
            )
            found.update((self.from_id(row[0]), row[1]) for row in rows)
        return found

    # -- settle ------------------------------------------------------------------------------------------------------

    def take_leases(self, settlements: Sequence[Settlement]) -> dict[UUID, Lease]:
        """Take the leases that are still held with the number the settlement carries. The fence of every write."""
        wanted = {self.to_id(one.reservation.job_id): one.reservation.job_id for one in settlements}
        numbers = {(one.reservation.job_id, one.reservation.lease_no) for one in settlements}
        held: dict[UUID, Lease] = {}
        for piece in self.chunks(wanted.values()):
            found = self.leases(f"id IN ({marks(len(piece))}) AND name = '' {self.for_update}", piece, wanted)
            held.update({lease.job_id: lease for lease in found if (lease.job_id, lease.lease_no) in numbers})
        self.delete_ids(LOCKS, "id", held)
        return held

    def leases(self, condition: str, params: Sequence[Any], ids: Mapping[Any, UUID] | None = None) -> list[Lease]:
        """Leases that meet a condition. `ids` gives the UUIDs that are known already by their database form."""
        rows = self.rows(
            f"SELECT id, lease_no, worker_id, queue, priority, seq, attempt, crashes, {self.as_read('claimed_at')}, "
            f"cancel FROM {LOCKS} "
            f"WHERE {condition}",
            params,
        )
        known = ids or {}
        workers = {row[2]: None if row[2] is None else self.from_id(row[2]) for row in rows}
        return [
            Lease._make(
                (
                    *(known.get(row[0]) or self.from_id(row[0]), row[1], workers[row[2]], *row[3:8]),
                    *(self.from_time(row[8]), row[9]),
                )
            )
            for row in rows
        ]

    def settle_completed(self, settlements: Sequence[Settlement]) -> Collection[tuple[UUID, int]] | None:
        """A faster way for the commonest move: the leases that held. None: there is none, use the general one."""
        return None

    def write_history(self, rows: Sequence[Sequence[Any]]) -> None:
        """Rows in the order of `COLUMNS[HISTORY]`. An execution that is recorded already is left as it is."""
        self.insert_many(insert(HISTORY, self.insert_ignore_verb, self.insert_ignore_tail), rows)

    def bury(self, job_id: UUID, values: Sequence[Any]) -> None:
        """Copy a job to the dead letters; `values` are the columns from `attempt` on."""
        columns = "id, queue, task, args, priority, max_attempts, timeout, crash_budget, unique_key, concurrency_key"
        self.execute(
            f"{self.insert_ignore_verb} {DEAD} ({columns}, batch_id, times_retried, enqueued_at, attempt, lease_no, "
            f"crashes, reason, error_class, error_message, traceback, fingerprint, failed_at) "
            f"SELECT {columns}, batch_id, times_retried, created_at, {marks(len(values))} FROM {JOBS} WHERE id = %s "
            f"{self.insert_ignore_tail}",
            [*values, self.to_id(job_id)],
        )

    # -- garbage -----------------------------------------------------------------------------------------------------

    def drop_doubles(self) -> None:
        """Leave each job in one room. No move of ours puts one in two, but a row written by hand can.

        The lease wins, as somebody may be running it; then the line.
        """
        leased = f"SELECT id FROM {LOCKS} WHERE name = ''"
        self.execute(f"DELETE FROM {READY} WHERE job_id IN ({leased})")
        self.execute(f"DELETE FROM {DELAYED} WHERE job_id IN ({leased} UNION ALL SELECT job_id FROM {READY})")

    # -- waiting -----------------------------------------------------------------------------------------------------

    def seconds_to_next_due(self) -> float | None:
        """How long until the next delayed job is due; None when there is none. Never negative."""
        row = self.rows(f"SELECT MIN(due_at) FROM {DELAYED}")[0]
        if row[0] is None:
            return None
        moment = datetime.fromisoformat(row[0]) if isinstance(row[0], str) else row[0]
        return max(0.0, (self.from_time(moment) - self.now()).total_seconds())


def reservation(lease: Lease, job: JobRow) -> Reservation:
    """A claimed job, from its two rows."""
    return Reservation(
        job_id=lease.job_id,
        lease_no=lease.lease_no,
        attempt=lease.attempt,
        crashes=lease.crashes,
        queue=lease.queue,
        priority=lease.priority,
        task=job.task,
        args=job.args,
        max_attempts=job.max_attempts,
        timeout=job.timeout,
        times_retried=job.times_retried,
        created_at=job.created_at,
        claimed_at=lease.claimed_at,
        wait_ms=lease.wait_ms,
        crash_budget=job.crash_budget,
    )
