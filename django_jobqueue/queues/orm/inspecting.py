"""Looking for what must not be in the tables. Each slice is one statement, so it sees one moment of all of them.

The first look asks for a slice by its first and last id, of each table: so every plan reads this part of it only, where
a list of ids made PostgreSQL read whole tables, slice after slice. The second look asks for each suspect alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django_jobqueue.compat import task_backends
from django_jobqueue.conf import conf
from django_jobqueue.models import DelayedJob, WorkerProcess
from django_jobqueue.queues.inspection import Fault, Inspector, Slice, Suspect
from django_jobqueue.queues.orm import mending
from django_jobqueue.queues.orm.dialect import ALIVE, FINAL, Dialect
from django_jobqueue.queues.orm.rows import DEAD, DELAYED, HISTORY, JOBS, LOCKS, READY, WORKERS, marks

if TYPE_CHECKING:
    from django_jobqueue.queues.orm.queue import OrmQueue

PIECE = 2_000
_ROOMS = {READY: "job_id", DELAYED: "job_id", LOCKS: "id"}
_UNIQUE = {HISTORY: ["job_id", "lease_no"], JOBS: ["unique_key"]}
_NOT_CLAIMING = ("quiet", "stop")

# Times are compared by the database: a row written by hand may hold one that Python can't.
_JOBS = f"""
SELECT j.id, j.queue, j.max_attempts, j.crash_budget, r.queue, r.attempt, r.lease_no, r.crashes,
       d.queue, d.attempt, d.lease_no, d.crashes, d.reason, d.waiting_on,
       CASE WHEN d.due_at < %s THEN 1 ELSE 0 END, l.queue, l.attempt, l.lease_no, l.crashes,
       CASE WHEN (w.id IS NULL AND l.claimed_at < %s)
              OR (w.state IN ({marks(len(ALIVE))}) AND w.expires_at < %s)
              OR (w.state NOT IN ({marks(len(ALIVE))}) AND w.heartbeat_at < %s) THEN 1 ELSE 0 END,
       (SELECT MAX(h.lease_no) FROM {HISTORY} h WHERE h.job_id = j.id),
       (SELECT COUNT(*) FROM {HISTORY} h WHERE h.job_id = j.id AND h.outcome IN ({marks(len(FINAL))})),
       CASE WHEN x.id IS NULL THEN 0 ELSE 1 END
FROM {JOBS} j LEFT JOIN {READY} r ON r.job_id = j.id AND r.job_id BETWEEN %s AND %s
     LEFT JOIN {DELAYED} d ON d.job_id = j.id AND d.job_id BETWEEN %s AND %s
     LEFT JOIN {LOCKS} l ON l.id = j.id AND l.name = '' AND l.id BETWEEN %s AND %s
     LEFT JOIN {WORKERS} w ON w.id = l.worker_id LEFT JOIN {DEAD} x ON x.id = j.id AND x.id BETWEEN %s AND %s
WHERE j.id BETWEEN %s AND %s
"""
_BOUNDS = 5


class Place(NamedTuple):
    """A row of a room. `queue` is None when there is none."""

    queue: str | None
    attempt: int
    lease_no: int
    crashes: int


class JobSeen(NamedTuple):
    """A live job and everything that stands about it elsewhere, at one moment."""

    db_id: Any
    queue: str
    max_attempts: int
    crash_budget: int | None
    ready: Place
    delayed: Place
    reason: str | None
    waiting_on: str
    is_overdue: bool
    lease: Place
    is_holder_gone: bool
    last_recorded: int | None
    is_over: bool
    is_dead: bool

    @property
    def rooms(self) -> list[Place]:
        return [place for place in (self.ready, self.delayed, self.lease) if place.queue is not None]

    @property
    def is_outgoing(self) -> bool:
        return self.reason == DelayedJob.Reason.OUTBOX


class OrmInspector(Inspector):
    """Reads the jobs of one database."""

    def __init__(self, queue: OrmQueue, dialect: Dialect, late: float) -> None:
        self._queue = queue
        self._dialect = dialect
        self._late = late

    # -- looking -----------------------------------------------------------------------------------------------------

    def look(self) -> Iterator[Slice]:
        yield Slice("constraints", len(_UNIQUE), self._constraints())
        for piece in self._pages(JOBS, "id"):
            yield Slice("jobs", len(piece), self._jobs(piece[0], piece[-1]))
        for table, column in _ROOMS.items():
            for piece in self._pages(table, column):
                orphans = self._orphans(table, column, piece[0], piece[-1])
                yield Slice(table.removeprefix("jobqueue_"), len(piece), orphans)

    def look_again(self, suspects: Sequence[Suspect]) -> set[Suspect]:
        wrong = set(self._constraints())
        ids = [one.key for one in suspects if one.fault is not Fault.NO_CONSTRAINT]
        for key in {UUID(key) for key in ids}:
            db_id = self._dialect.to_id(key)
            wrong.update(self._jobs(db_id, db_id))
            for table, column in _ROOMS.items():
                wrong.update(self._orphans(table, column, db_id, db_id))
        return wrong & set(suspects)

    def account(self) -> dict[str, int]:
        counts = {
            "jobs": f"SELECT COUNT(*) FROM {JOBS}",
            "ready": f"SELECT COUNT(*) FROM {READY}",
            "delayed": f"SELECT COUNT(*) FROM {DELAYED}",
            "running": f"SELECT COUNT(*) FROM {LOCKS} WHERE name = ''",
            "_dead": f"SELECT COUNT(*) FROM {DEAD} WHERE store = ''",
        }
        [row] = self._dialect.rows(f"SELECT {', '.join(f'({sql})' for sql in counts.values())}")
        return dict(zip(counts, row, strict=True))

    # -- repair ------------------------------------------------------------------------------------------------------

    def can_repair(self, fault: Fault) -> bool:
        return fault in mending.MENDS

    def repair(self, fault: Fault, suspects: Sequence[Suspect]) -> None:
        for piece in self._dialect.chunks(UUID(one.key) for one in suspects):
            mending.MENDS[fault](self._queue, self._dialect, piece)

    # -- slices ------------------------------------------------------------------------------------------------------

    def _pages(self, table: str, column: str) -> Iterator[list[Any]]:
        """The ids of a table, up to the one that was the last at the beginning."""
        where = "WHERE name = ''" if table == LOCKS else "WHERE 1 = 1"
        last = self._dialect.rows(f"SELECT {column} FROM {table} {where} ORDER BY {column} DESC LIMIT 1")
        condition, params = f"{column} <= %s", [row[0] for row in last]
        while params:
            page = self._dialect.rows(
                f"SELECT {column} FROM {table} {where} AND {condition} ORDER BY {column} LIMIT {PIECE}", params
            )
            if not page:
                return
            yield [row[0] for row in page]
            condition, params = f"{column} <= %s AND {column} > %s", [last[0][0], page[-1][0]]

    def _orphans(self, table: str, column: str, first: Any, last: Any) -> list[Suspect]:
        """Rows of a room whose job is gone."""
        only = "AND t.name = ''" if table == LOCKS else ""
        rows = self._dialect.rows(
            f"SELECT t.{column} FROM {table} t LEFT JOIN {JOBS} j ON j.id = t.{column} AND j.id BETWEEN %s AND %s "
            f"WHERE t.{column} BETWEEN %s AND %s {only} AND j.id IS NULL",
            [first, last] * 2,
        )
        return [self._suspect(Fault.NO_JOB, row[0]) for row in rows]

    def _jobs(self, first: Any, last: Any) -> list[Suspect]:
        dialect, late = self._dialect, timedelta(seconds=self._late)
        now, lease = dialect.now(), timedelta(seconds=self._queue.lease)
        silent, unknown = dialect.to_time(now - late), dialect.to_time(now - late - lease)
        bounds = [first, last] * _BOUNDS
        rows = dialect.rows(_JOBS, [unknown, unknown, *ALIVE, silent, *ALIVE, silent, *FINAL, *bounds])
        jobs = [_job_seen(row) for row in rows]
        is_idle = any(job.is_overdue for job in jobs) and self._is_somebody_idle()
        stores = set(task_backends)
        return [
            self._suspect(fault, job.db_id)
            for job in jobs
            for fault in [*_misplaced(job, stores), *_overspent(job), *_contradicted(job), *_left_waiting(job, is_idle)]
        ]

    def _is_somebody_idle(self) -> bool:
        """A worker that could have promoted what is due: it is alive, takes jobs, and has none."""
        workers = WorkerProcess._default_manager.using(self._queue.database).exclude(desired_state__in=_NOT_CLAIMING)
        now = self._dialect.field_time(self._dialect.now())
        return workers.filter(state=WorkerProcess.State.RUNNING, store="", running="", expires_at__gt=now).exists()

    def _constraints(self) -> list[Suspect]:
        """A history without its unique index would record an execution twice, and so on."""
        connection = self._dialect.connection
        missing = []
        with connection.cursor() as cursor:
            for table, columns in _UNIQUE.items():
                found = connection.introspection.get_constraints(cursor, table).values()
                if not any(one["unique"] and one["columns"] == columns for one in found):
                    missing.append(Suspect(Fault.NO_CONSTRAINT, f"{table} ({', '.join(columns)})"))
        return missing

    def _suspect(self, fault: Fault, db_id: Any) -> Suspect:
        return Suspect(fault, str(self._dialect.from_id(db_id)))


def _job_seen(row: Sequence[Any]) -> JobSeen:
    job_id, queue, max_attempts, crash_budget, *rest = row
    ready, delayed, lease = Place(*rest[0:4]), Place(*rest[4:8]), Place(*rest[11:15])
    reason, waiting_on, is_overdue, gone, last, over, dead = *rest[8:11], *rest[15:19]
    is_gone = lease.queue is not None and bool(gone)
    return JobSeen(
        *(job_id, queue, max_attempts, crash_budget, ready, delayed, reason, waiting_on or "", bool(is_overdue)),
        *(lease, is_gone, last, bool(over), bool(dead)),
    )


def _misplaced(job: JobSeen, stores: set[str]) -> Iterator[Fault]:
    if not job.rooms:
        yield Fault.NO_ROOM
    if len(job.rooms) > 1:
        yield Fault.TWO_ROOMS
    if any(place.queue != job.queue for place in job.rooms):
        yield Fault.WRONG_QUEUE
    if job.is_outgoing and job.waiting_on not in stores:
        yield Fault.OUTBOX_LOST


def _overspent(job: JobSeen) -> Iterator[Fault]:
    """Attempts are counted by the claim: a job that waits must have one left."""
    waiting = max((place.attempt for place in job.rooms if place is not job.lease), default=-1)
    running = job.lease.attempt if job.lease.queue is not None else 0
    if waiting >= job.max_attempts or running > job.max_attempts:
        yield Fault.TOO_MANY_ATTEMPTS
    budget = conf().CRASH_BUDGET if job.crash_budget is None else job.crash_budget
    if any(place.crashes >= budget for place in job.rooms):
        yield Fault.TOO_MANY_CRASHES


def _contradicted(job: JobSeen) -> Iterator[Fault]:
    """What the past says of a job that lives. One on its way to another store may have ended there."""
    if job.is_outgoing:
        return
    if job.is_over:
        yield Fault.ENDED_BUT_LIVE
    if job.is_dead:
        yield Fault.DEAD_BUT_LIVE
    last = job.last_recorded or 0
    waits_behind = any(place.lease_no < last for place in job.rooms if place is not job.lease)
    if waits_behind or (job.lease.queue is not None and job.lease.lease_no <= last):
        yield Fault.LEASE_BEHIND


def _left_waiting(job: JobSeen, is_somebody_idle: bool) -> Iterator[Fault]:
    if job.is_overdue and is_somebody_idle:
        yield Fault.OVERDUE
    if job.is_holder_gone:
        yield Fault.DEAD_HOLDER
