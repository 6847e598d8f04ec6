"""Jobs on their way to another store: written in the caller's transaction, taken out when they have arrived.

A row in `jobs` and one in `delayed_jobs` with the reason `outbox`, as no verb of this store touches. The other store is
named in `waiting_on`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.models import DeadLetterJob, DelayedJob, JobHistory
from django_jobqueue.queues.base import JobSnapshot, Room
from django_jobqueue.queues.orm.dialect import FINAL, MAX_INT, Dialect
from django_jobqueue.queues.orm.pushing import store
from django_jobqueue.queues.orm.queue import dialect_of
from django_jobqueue.queues.orm.rows import COLUMNS, DEAD, DELAYED, HISTORY, JOBS, marks

KEY_MARK = "→"
"""Stands between the alias and the unique key of a row: what nobody writes into a key of this store."""
PUSH_CHUNK = 1_000
_OUTBOX = str(DelayedJob.Reason.OUTBOX)
_KEY = COLUMNS[JOBS].index("unique_key")
_DELAYED = (*COLUMNS[DELAYED], "run_after")
_INSERT_DELAYED = f"INSERT INTO {DELAYED} ({', '.join(_DELAYED)}) VALUES ({marks(len(_DELAYED))})"
_MICROSECOND = timedelta(microseconds=1)
_AHEAD = 3_600.0

_moment_lock = threading.Lock()
_last_moment: dict[str, datetime] = {}


class Parcel(NamedTuple):
    """A job on its way. `payload` is None for a row that describes no job, and `problem` says why."""

    job_id: UUID
    payload: JobPayload | None
    problem: str = ""


class Outgoing:
    """The jobs that wait in `database` for the store `store`. Raises Django's database errors."""

    def __init__(self, database: str, store: str) -> None:
        self.database = database
        self.store = store

    # -- in the caller's transaction ---------------------------------------------------------------------------------

    def put(self, payloads: Sequence[JobPayload]) -> list[UUID]:
        """Write jobs down; for each the id that answers for it. All or none. Raises `EnqueueError` too."""
        dialect, prefix = self._dialect(), f"{self.store}{KEY_MARK}"
        ids: list[UUID] = []
        with self._savepoint():  # a statement that fails must leave the caller's transaction usable
            for start in range(0, len(payloads), PUSH_CHUNK):
                piece = payloads[start : start + PUSH_CHUNK]
                ids += store(dialect, piece, lambda rest, _: self._insert(dialect, rest), key_prefix=prefix)
        return ids

    def _savepoint(self) -> AbstractContextManager[Any]:
        """None where the project does without autocommit: on SQLite, releasing an outermost one would commit."""
        dialect = self._dialect()
        return dialect.transaction() if dialect.connection.in_atomic_block else nullcontext()

    def _insert(self, dialect: Dialect, payloads: Sequence[JobPayload]) -> set[UUID]:
        now = dialect.now()
        known = dialect.known_ids(payload.id for payload in payloads)
        new = [payload for payload in payloads if payload.id not in known]
        moments = _moments(self.database, now, len(new))
        stored = dialect.insert_new([self._job(dialect, *one) for one in zip(new, moments, strict=True)])
        rows = [self._delay(dialect, payload, now) for payload in new if payload.id in stored]
        dialect.insert_many(_INSERT_DELAYED, rows)
        return stored

    def _job(self, dialect: Dialect, payload: JobPayload, moment: datetime) -> tuple[Any, ...]:
        values = list(dialect.job_values(payload, moment))
        if payload.unique_key is not None:
            values[_KEY] = f"{self.store}{KEY_MARK}{payload.unique_key}"
        return tuple(values)

    def _delay(self, dialect: Dialect, payload: JobPayload, now: datetime) -> tuple[Any, ...]:
        after = payload.run_after if payload.delay is None else now + timedelta(seconds=payload.delay)
        return (
            dialect.to_id(payload.id),
            payload.queue,
            payload.priority,
            None,
            _OUTBOX,
            self.store,
            0,
            payload.lease_no,
            0,
            dialect.to_time(after),
        )

    # -- on the way --------------------------------------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """What surrounds `take` and what follows it: others pass over the rows that were taken, or wait."""
        return self._dialect().transaction()

    def left_behind(self, seconds: float, limit: int) -> list[UUID]:
        """Jobs that are older than so many seconds, in the order in which they were written down. Takes no locks.

        At 0 all of them: the moments of the last push may be a little ahead of the clock.
        The plan must find the rows without a due time in `jobqueue_delayed_due`.
        """
        dialect = self._dialect()
        before = dialect.to_time(dialect.now() - timedelta(seconds=seconds or -_AHEAD))
        rows = dialect.rows(
            f"SELECT d.job_id FROM {DELAYED} d LEFT JOIN {JOBS} j ON j.id = d.job_id "
            f"WHERE d.due_at IS NULL AND d.reason = %s AND d.waiting_on = %s "
            f"AND (j.created_at <= %s OR j.created_at IS NULL) ORDER BY j.created_at, d.job_id LIMIT {int(limit)}",
            [_OUTBOX, self.store, before],
        )
        return [dialect.from_id(row[0]) for row in rows]

    def take(self, ids: Sequence[UUID]) -> list[Parcel]:
        """Those of these jobs that are still here and that nobody else has taken, locked, in this order."""
        dialect = self._dialect()
        found: dict[UUID, Parcel] = {}
        for piece in dialect.chunks(ids):
            rows = dialect.rows(
                f"SELECT job_id, lease_no, {dialect.as_read('run_after')} FROM {DELAYED} "
                f"WHERE job_id IN ({marks(len(piece))}) AND reason = %s AND waiting_on = %s {dialect.skip_locked}",
                [*piece, _OUTBOX, self.store],
            )
            found.update(self._parcels(dialect, rows))
        return [found[job_id] for job_id in dict.fromkeys(ids) if job_id in found]

    def _parcels(self, dialect: Dialect, rows: Sequence[tuple[Any, ...]]) -> dict[UUID, Parcel]:
        columns = (
            "id, queue, task, args, priority, max_attempts, timeout, crash_budget, unique_key, concurrency_key, "
            "times_retried"
        )
        db_ids = [row[0] for row in rows]
        jobs = dialect.rows(f"SELECT {columns} FROM {JOBS} WHERE id IN ({marks(len(db_ids))})", db_ids) if rows else []
        values = {row[0]: dict(zip(columns.split(", ")[1:], row[1:], strict=True)) for row in jobs}
        return {
            dialect.from_id(db_id): self._parcel(
                dialect.from_id(db_id), values.get(db_id), lease_no, dialect.from_time(after) if after else None
            )
            for db_id, lease_no, after in rows
        }

    def _parcel(self, job_id: UUID, values: dict[str, Any] | None, lease_no: int, run_after: datetime | None) -> Parcel:
        if values is None:
            return Parcel(job_id, None, "there is no job to it")
        key = values["unique_key"]
        if key is not None:
            values["unique_key"] = key.removeprefix(f"{self.store}{KEY_MARK}")
        try:
            return Parcel(job_id, JobPayload(id=job_id, lease_no=lease_no, run_after=run_after, **values))
        except InvalidPayload as error:  # a row that was written by hand
            return Parcel(job_id, None, str(error))

    def over(self, ids: Sequence[UUID]) -> set[UUID]:
        """Which of these have ended already: they had arrived, and only their rows stayed."""
        dialect = self._dialect()
        ended: set[UUID] = set()
        for piece in dialect.chunks(ids):
            among, final = marks(len(piece)), marks(len(FINAL))
            rows = dialect.rows(
                f"SELECT id FROM {DEAD} WHERE id IN ({among}) UNION ALL "
                f"SELECT job_id FROM {HISTORY} WHERE job_id IN ({among}) AND outcome IN ({final})",
                [*piece, *piece, *FINAL],
            )
            ended.update(dialect.from_id(row[0]) for row in rows)
        return ended

    def remove(self, ids: Sequence[UUID]) -> None:
        dialect = self._dialect()
        dialect.delete_ids(DELAYED, "job_id", ids)
        dialect.delete_ids(JOBS, "id", ids)

    def bury(self, parcel: Parcel, reason: str, message: str) -> None:
        """A job that the other store must not take becomes a dead letter; its row is left to `remove`."""
        dialect = self._dialect()
        rows = dialect.rows(f"SELECT lease_no FROM {DELAYED} WHERE job_id = %s", [dialect.to_id(parcel.job_id)])
        now = dialect.to_time(dialect.now())
        for (lease_no,) in rows:
            dialect.bury(parcel.job_id, (0, lease_no, 0, str(reason), "", message, "", "", now))
        letter = DeadLetterJob._default_manager.using(self.database).filter(pk=parcel.job_id)
        job = parcel.payload
        if job is None:
            letter.update(store=self.store, unique_key=None)
        else:  # if it was on its way back, it has not been: it is where it came from
            letter.update(store=self.store, unique_key=job.unique_key, times_retried=max(0, job.times_retried - 1))

    # -- one job -----------------------------------------------------------------------------------------------------

    def find(self, job_id: UUID) -> JobSnapshot | None:
        """A job that is still on its way."""
        dialect = self._dialect()
        rows = dialect.rows(
            f"SELECT j.queue, j.task, j.args, j.priority, j.max_attempts, {dialect.as_read('j.created_at')}, "
            f"d.lease_no, {dialect.as_read('d.run_after')} FROM {JOBS} j JOIN {DELAYED} d ON d.job_id = j.id "
            f"WHERE j.id = %s AND d.reason = %s AND d.waiting_on = %s",
            [dialect.to_id(job_id), _OUTBOX, self.store],
        )
        for queue, task, args, priority, max_attempts, created_at, lease_no, run_after in rows:
            return JobSnapshot(
                job_id=job_id,
                room=Room.DELAYED,
                status=JobStatus.PENDING,
                queue=queue,
                task=task,
                args=args,
                priority=priority,
                attempt=0,
                lease_no=lease_no,
                max_attempts=max_attempts,
                created_at=dialect.from_time(created_at),
                reason=_OUTBOX,
                due_at=dialect.from_time(run_after) if run_after else None,
            )
        return None

    def holds(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Which of these are still on their way."""
        dialect = self._dialect()
        found: set[UUID] = set()
        for piece in dialect.chunks(job_ids):
            rows = dialect.rows(
                f"SELECT job_id FROM {DELAYED} "
                f"WHERE job_id IN ({marks(len(piece))}) AND reason = %s AND waiting_on = %s",
                [*piece, _OUTBOX, self.store],
            )
            found.update(dialect.from_id(row[0]) for row in rows)
        return found

    def cancel(self, job_id: UUID, unless: Callable[[int], bool]) -> bool:
        """End a job that is still on its way, with a row in the history. Waits for whoever delivers it now.

        `unless` is asked when nobody can deliver it any more: whether it has arrived, by its last lease number.
        """
        dialect = self._dialect()
        with dialect.transaction():
            rows = dialect.rows(
                f"SELECT lease_no FROM {DELAYED} WHERE job_id = %s AND reason = %s AND waiting_on = %s "
                f"{dialect.for_update}",
                [dialect.to_id(job_id), _OUTBOX, self.store],
            )
            job = self.find(job_id) if rows and not unless(rows[0][0]) else None
            if job is None:
                return False
            self.remove([job_id])
            self._record_cancelled(dialect, job)
        return True

    def _record_cancelled(self, dialect: Dialect, job: JobSnapshot) -> None:
        record = JobHistory(
            job_id=job.job_id,
            lease_no=min(job.lease_no + 1, MAX_INT),  # a number of its own: the last lease has its own row
            attempt=0,
            queue=job.queue,
            task=job.task,
            args=job.args,
            priority=job.priority,
            outcome=JobHistory.Outcome.CANCELLED,
            enqueued_at=dialect.field_time(job.created_at),
            finished_at=dialect.field_time(dialect.now()),
            store=self.store,
        )
        JobHistory._default_manager.using(self.database).bulk_create([record], ignore_conflicts=True)

    def _dialect(self) -> Dialect:
        return dialect_of(self.database)


def _moments(database: str, now: datetime, count: int) -> list[datetime]:
    """A time for each job, never the same or earlier in one process: their order is read off it."""
    with _moment_lock:
        start = max(now, _last_moment.get(database, now) + _MICROSECOND)
        _last_moment[database] = start + count * _MICROSECOND
    return [start + place * _MICROSECOND for place in range(count)]
