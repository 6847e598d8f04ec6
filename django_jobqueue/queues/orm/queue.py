"""The ORM store: each verb is one transaction in one database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connections
from django.utils.module_loading import import_string

from django_jobqueue import failpoints
from django_jobqueue.exceptions import EnqueueError, InvalidPayload
from django_jobqueue.jobs.ids import uuid7s
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.models import JobHistory, WorkerProcess
from django_jobqueue.queues.base import (
    DEFAULT_LEASE,
    Exchange,
    JobSnapshot,
    Page,
    Queue,
    QueueStats,
    Reservation,
    Settlement,
    WorkerIdentity,
    WorkerReport,
)
from django_jobqueue.queues.bell import Bell
from django_jobqueue.queues.inspection import Inspector
from django_jobqueue.queues.orm import aging, leases, looking
from django_jobqueue.queues.orm.dialect import ALIVE, MAX_INT, Dialect
from django_jobqueue.queues.orm.inspecting import OrmInspector
from django_jobqueue.queues.orm.pushing import store
from django_jobqueue.queues.orm.rows import DELAYED, JOBS, OURS, READY
from django_jobqueue.queues.orm.settling import settle_batch
from django_jobqueue.queues.orm.waiting import Waiter, waiter_for

_DIALECTS = {
    "postgresql": "django_jobqueue.queues.orm.postgresql.PostgreSQLDialect",
    "sqlite": "django_jobqueue.queues.orm.sqlite.SQLiteDialect",
    "mysql": "django_jobqueue.queues.orm.mysql.MySQLDialect",
}
PUSH_CHUNK = 1_000
"""Jobs stored by one statement, where the database can."""
BLINK = 0.01
"""Seconds. Who waits no longer than this looks for due jobs soon enough, and is not told when the next one is."""
_TRIES = 5
T = TypeVar("T")


def _pieces(values: Sequence[T]) -> list[Sequence[T]]:
    return [values[start : start + PUSH_CHUNK] for start in range(0, len(values), PUSH_CHUNK)]


def dialect_of(database: str) -> Dialect:
    """The statements of this database, over the calling thread's connection to it."""
    connection = connections[database]
    return _kind_of(connection.vendor)(connection)


@cache
def _kind_of(vendor: str) -> type[Dialect]:
    kind: type[Dialect] = import_string(_DIALECTS[vendor])
    return kind


class OrmQueue(Queue):
    """Jobs in the database `database` (an alias of `DATABASES`)."""

    settles_in_transactions = True

    def __init__(self, alias: str = "default", database: str = "default", lease: float = DEFAULT_LEASE) -> None:
        self.alias = alias
        self.database = database
        self.lease = lease
        self._turn = 0
        self._bell = Bell()
        self._waiter: Waiter | None = None

    # -- producers ---------------------------------------------------------------------------------------------------

    def push(self, *payloads: JobPayload, fresh: bool = False) -> list[UUID]:
        if not payloads:
            return []
        pieces = _pieces(payloads)

        def store_all(dialect: Dialect) -> list[UUID]:
            return [job_id for piece in pieces for job_id in store(dialect, piece, dialect.insert_jobs, fresh)]

        # With a unique key some may be refused, and finding their holders is a second statement.
        return self._push(store_all, len(pieces) == 1 and not any(payload.unique_key for payload in payloads))

    def push_alike(self, template: JobPayload, calls: Sequence[str]) -> list[UUID]:
        if not (calls and template.is_plain):
            return super().push_alike(template, calls)
        ids = uuid7s(len(calls))
        pieces = [(ids, calls)] if len(ids) == 1 else list(zip(_pieces(ids), _pieces(calls), strict=True))

        def store_all(dialect: Dialect) -> list[UUID]:
            for piece in pieces:
                dialect.insert_alike(template, *piece)
            failpoints.hit("enqueue.before_commit")
            return ids

        return self._push(store_all, len(pieces) == 1)

    def _push(self, store_all: Callable[[Dialect], list[UUID]], one_statement: bool) -> list[UUID]:
        try:
            ids = self._move(store_all, one_statement)
        except (DatabaseError, InterfaceError) as error:
            raise EnqueueError(f"the database {self.database!r} did not store the job: {error}") from error
        failpoints.hit("enqueue.committed")
        return ids

    def cancel(self, job_id: UUID) -> bool:
        return self._move(lambda dialect: self._cancel(dialect, job_id))

    def _cancel(self, dialect: Dialect, job_id: UUID) -> bool:
        # DELAYED before READY: jobs move that way by themselves, so one that moves meanwhile is found in the second.
        for table, condition in ((DELAYED, f"job_id = %s AND {OURS}"), (READY, "job_id = %s")):
            rows = dialect.rows(
                f"SELECT job_id, attempt, lease_no, queue, priority FROM {table} "
                f"WHERE {condition} {dialect.for_update}",
                [dialect.to_id(job_id)],
            )
            if rows:
                return self._end_waiting(dialect, table, rows, recorded=rows) > 0
        return False

    def _end_waiting(
        self, dialect: Dialect, table: str, rows: Sequence[Sequence[Any]], recorded: Sequence[Sequence[Any]]
    ) -> int:
        """Take (job_id, attempt, lease_no, queue, priority) out of a room for good, some of them with a record."""
        ids = [dialect.from_id(row[0]) for row in rows]
        dialect.delete_ids(table, "job_id", ids)
        jobs = dialect.jobs(ids)
        dialect.delete_ids(JOBS, "id", ids)
        now = dialect.field_time(dialect.now())
        records = [
            JobHistory(
                job_id=dialect.from_id(db_id),
                lease_no=min(lease_no + 1, MAX_INT),  # a number of its own: the last lease has its own row
                attempt=attempt,
                queue=queue,
                task=job.task,
                args=job.args,
                priority=priority,
                outcome=JobHistory.Outcome.CANCELLED,
                enqueued_at=dialect.field_time(job.created_at),
                finished_at=now,
            )
            for db_id, attempt, lease_no, queue, priority in recorded
            if (job := jobs.get(dialect.from_id(db_id))) is not None
        ]
        JobHistory.objects.using(self.database).bulk_create(records, ignore_conflicts=True)
        return len(jobs)

    def reprioritize(self, job_id: UUID, priority: int) -> bool:
        if not -100 <= priority <= 100:
            raise InvalidPayload(f"priority must be between -100 and 100, not {priority!r}")
        return self._move(lambda dialect: self._reprioritize(dialect, job_id, priority))

    def _reprioritize(self, dialect: Dialect, job_id: UUID, priority: int) -> bool:
        db_id = dialect.to_id(job_id)
        place = dialect.places(dialect.now(), 1)[0]
        changed = dialect.execute(f"UPDATE {DELAYED} SET priority = %s WHERE job_id = %s AND {OURS}", [priority, db_id])
        changed += dialect.execute(
            f"UPDATE {READY} SET priority = %s, seq = %s WHERE job_id = %s", [priority, place, db_id]
        )
        if changed:
            dialect.execute(f"UPDATE {JOBS} SET priority = %s WHERE id = %s", [priority, db_id])
        return bool(changed)

    def age(self, queue: str, seconds: float, limit: int) -> int:
        return self._move(lambda dialect: aging.age(dialect, queue, seconds, limit))

    def run_now(self, job_id: UUID) -> bool:
        return self._move(lambda dialect: self._run_now(dialect, job_id))

    def _run_now(self, dialect: Dialect, job_id: UUID) -> bool:
        rows = dialect.rows(
            f"SELECT job_id, queue, priority, attempt, lease_no, crashes FROM {DELAYED} "
            f"WHERE job_id = %s AND due_at IS NOT NULL AND {OURS} {dialect.for_update}",
            [dialect.to_id(job_id)],
        )
        if rows:
            dialect.make_ready(rows, dialect.now())
            dialect.delete_ids(DELAYED, "job_id", [job_id])
            dialect.announce([rows[0][1]])
        return bool(rows)

    def clear(self, queue: str | None = None) -> int:
        removed = 0
        for table in (DELAYED, READY):
            while piece := self._move(lambda dialect, table=table: self._clear_some(dialect, table, queue)):  # type: ignore[misc]
                removed += piece
        return removed

    def _clear_some(self, dialect: Dialect, table: str, queue: str | None, limit: int = 1_000) -> int:
        conditions = [*(["queue = %s"] if queue is not None else []), *([OURS] if table == DELAYED else [])]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = dialect.rows(
            f"SELECT job_id, attempt, lease_no, queue, priority FROM {table} {where} "
            f"LIMIT {limit} {dialect.skip_locked}",
            [] if queue is None else [queue],
        )
        # A job that has run leaves a record: its id is over for good, and its lease numbers must not start anew.
        self._end_waiting(dialect, table, rows, recorded=[row for row in rows if row[2] > 0])
        return len(rows)

    # -- looking -----------------------------------------------------------------------------------------------------

    def find(self, job_id: UUID) -> JobSnapshot | None:
        return looking.find(self._dialect(), job_id)

    def statuses(self, *job_ids: UUID) -> dict[UUID, JobStatus]:
        return looking.statuses(self._dialect(), job_ids)

    def alive(self, *job_ids: UUID) -> set[UUID]:
        return looking.alive(self._dialect(), job_ids)

    def peek(self, queue: str = "default") -> JobSnapshot | None:
        return looking.peek(self._dialect(), queue)

    def size(self, queue: str | None = None) -> int:
        return sum(row.ready + row.delayed + row.running for row in self.stats(queue))

    def stats(self, queue: str | None = None) -> list[QueueStats]:
        return looking.stats(self._dialect(), queue)

    def queue_names(self) -> list[str]:
        return self._dialect().ready_queues()

    def ready_of(self, queue: str, task: str, but: int, cursor: str = "") -> Page:
        return looking.ready_of(self._dialect(), queue, task, but, cursor)

    def inspector(self, late: float) -> Inspector:
        return OrmInspector(self, self._dialect(), late)

    # -- workers -----------------------------------------------------------------------------------------------------

    def join(self, worker: WorkerIdentity) -> None:
        dialect = self._dialect()
        now = dialect.now()
        WorkerProcess.objects.using(self.database).create(
            id=worker.id,
            name=worker.name[:200],
            host=worker.host[:100],
            pid=worker.pid,
            queues=",".join(worker.queues),
            version=worker.version,
            started_at=dialect.field_time(now),
            heartbeat_at=dialect.field_time(now),
            expires_at=dialect.field_time(now + timedelta(seconds=self.lease)),
        )
        failpoints.hit("join.committed")

    def heartbeat(self, worker: UUID, report: WorkerReport = WorkerReport()) -> bool:  # noqa: B008 (immutable)
        dialect = self._dialect()
        now = dialect.now()
        alive = WorkerProcess.objects.using(self.database).filter(id=worker, state__in=ALIVE)
        changed = alive.update(
            heartbeat_at=dialect.field_time(now),
            expires_at=dialect.field_time(now + timedelta(seconds=self.lease)),
            state=report.state,
            running=report.running,
            completed=report.completed,
            failed=report.failed,
            rss_kb=report.rss_kb,
        )
        return changed == 1

    def leave(self, worker: UUID) -> None:
        self._move(lambda dialect: leases.give_back(dialect, worker))
        failpoints.hit("leave.committed")

    def exchange(self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int, worker: UUID) -> Exchange:
        if not settlements:
            return Exchange([], self._claim_if_any(queues, limit, worker))

        def both(dialect: Dialect) -> Exchange:
            settled = settle_batch(dialect, settlements)
            is_due = dialect.may_be_due
            return Exchange(settled, self._claim(dialect, queues, limit, worker, is_due) if limit > 0 else [])

        exchange = self._move(both)
        failpoints.hit("settle.committed")
        return exchange

    def _claim_if_any(self, queues: Sequence[str], limit: int, worker: UUID) -> list[Reservation]:
        """Looks first, so that idle polling writes nothing; but not for what it was just told of."""
        if limit < 1:
            return []
        told = self._waiter.take_word(queues) if self._waiter is not None else ()
        is_ready, is_due = (True, False) if told else self._dialect().look(queues)
        if not (is_ready or is_due):
            return []
        claimed = self._move(lambda dialect: self._claim(dialect, told or queues, limit, worker, is_due))
        failpoints.hit("claim.committed")
        return claimed

    def _claim(
        self, dialect: Dialect, queues: Sequence[str], limit: int, worker: UUID, is_due: bool
    ) -> list[Reservation]:
        if is_due and dialect.promote():
            failpoints.hit("promote.before_commit")
        claimed: list[Reservation] = []
        for queue in queues or self._all_in_turn(dialect):
            claimed += dialect.claim(queue, limit - len(claimed), worker)
            if len(claimed) >= limit:
                break
        failpoints.hit("claim.before_commit")
        return claimed

    def _all_in_turn(self, dialect: Dialect) -> list[str]:
        """Every queue with ready jobs, starting with another one each time, so that none waits for all before it."""
        names = dialect.ready_queues()
        self._turn += 1
        start = self._turn % len(names) if names else 0
        return names[start:] + names[:start]

    def reclaim(self) -> int:
        moved = self._move(leases.bury_silent)
        failpoints.hit("reclaim.committed")
        return moved

    def promote(self) -> int:
        dialect = self._dialect()
        if dialect.seconds_to_next_due() != 0:  # a read, so that nothing is written, nor locked, for nothing
            return 0
        return self._move(lambda dialect: dialect.promote())

    def declare_dead(self, worker: UUID, innocent: Collection[UUID] = ()) -> int:
        moved = self._move(lambda dialect: leases.bury(dialect, worker, innocent))
        failpoints.hit("declare_dead.committed")
        return moved

    def leases(self, worker: UUID) -> list[Reservation]:
        return leases.held(self._dialect(), worker)

    def request_cancel(self, job_id: UUID, kill: bool = False) -> bool:
        is_told = self._move(lambda dialect: leases.ask_to_stop(dialect, job_id, kill))
        failpoints.hit("request_cancel.committed")
        return is_told

    def cancellations(self, *workers: UUID) -> dict[UUID, bool]:
        return leases.asked_to_stop(self._dialect(), workers) if workers else {}

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        due = None if timeout <= BLINK else self._dialect().seconds_to_next_due()
        rest = timeout if due is None else min(timeout, due)
        return self._waiting().wait(queues, rest) or (due is not None and due <= timeout)

    def wake(self) -> None:
        self._bell.ring()  # and nothing else: a signal handler may call this while the database's driver is imported

    def close(self) -> None:
        if self._waiter is not None:
            self._waiter.close()

    def transaction(self) -> AbstractContextManager[None]:
        return self._dialect().transaction()

    @property
    def answers_while_we_work(self) -> bool:  # type: ignore[override]
        # SQLite is no server: the same thread would do it, and jobs that write would meet us at its lock.
        return connections[self.database].vendor != "sqlite"

    # -- plumbing ----------------------------------------------------------------------------------------------------

    def _waiting(self) -> Waiter:
        if self._waiter is None:
            self._waiter = waiter_for(self.database, self._bell)
        return self._waiter

    def _dialect(self) -> Dialect:
        return dialect_of(self.database)

    def _move(self, step: Callable[[Dialect], T], one_statement: bool = False) -> T:
        """Run one move in one transaction; a deadlock's victim tries again, unless the transaction is the caller's.

        `one_statement`: the move may be a single statement, which some databases make atomic without BEGIN and COMMIT.
        """
        dialect = self._dialect()
        begin = dialect.push_transaction if one_statement else dialect.transaction
        for attempt in range(1, _TRIES + 1):
            try:
                with begin():
                    return step(dialect)
            except IntegrityError:
                if attempt > 1:
                    raise
                dialect.is_careful = True
                with dialect.transaction():
                    dialect.drop_doubles()
            except OperationalError as error:
                if attempt == _TRIES or dialect.connection.in_atomic_block or not dialect.is_deadlock(error):
                    raise
        raise AssertionError("unreachable")
