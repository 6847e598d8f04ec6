"""Looking at live jobs without touching them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import BigIntegerField, Count, Min, Value

from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.models import DeadLetterJob, DelayedJob, JobLock, JobPriority
from django_jobqueue.queues.base import JobSnapshot, Page, QueueStats, Room
from django_jobqueue.queues.orm.dialect import Dialect
from django_jobqueue.queues.orm.rows import DELAYED, JOBS, LOCKS, READY, marks

PAGE = 2_000


def find(dialect: Dialect, job_id: UUID) -> JobSnapshot | None:
    """A live job. One statement sees one moment: a job that moves is seen before or after, never in between."""
    as_read = dialect.as_read
    rows = dialect.rows(
        f"SELECT j.queue, j.task, j.args, j.priority, j.max_attempts, {as_read('j.created_at')}, "
        f"r.attempt, r.lease_no, d.attempt, d.lease_no, d.reason, {as_read('d.due_at')}, "
        f"l.attempt, l.lease_no, l.worker_id, {as_read('l.claimed_at')}, l.cancel FROM {JOBS} j "
        f"LEFT JOIN {READY} r ON r.job_id = j.id LEFT JOIN {DELAYED} d ON d.job_id = j.id "
        f"LEFT JOIN {LOCKS} l ON l.id = j.id AND l.name = '' WHERE j.id = %s",
        [dialect.to_id(job_id)],
    )
    if not rows or rows[0][10] == DelayedJob.Reason.OUTBOX:
        return None
    return _snapshot(dialect, job_id, rows[0])


def statuses(dialect: Dialect, job_ids: Iterable[UUID]) -> dict[UUID, JobStatus]:
    found: dict[UUID, JobStatus] = {}
    for piece in dialect.chunks(job_ids):
        rows = dialect.rows(
            f"SELECT j.id, r.attempt, d.reason, l.lease_no FROM {JOBS} j "
            f"LEFT JOIN {READY} r ON r.job_id = j.id LEFT JOIN {DELAYED} d ON d.job_id = j.id "
            f"LEFT JOIN {LOCKS} l ON l.id = j.id AND l.name = '' WHERE j.id IN ({marks(len(piece))})",
            piece,
        )
        for db_id, attempt, reason, lease_no in rows:
            if reason != DelayedJob.Reason.OUTBOX:
                found[dialect.from_id(db_id)] = _status(attempt, reason, lease_no is not None)
    return found


def alive(dialect: Dialect, job_ids: Iterable[UUID]) -> set[UUID]:
    found: set[UUID] = set()
    for piece in dialect.chunks(job_ids):
        rows = dialect.rows(f"SELECT id FROM {JOBS} WHERE id IN ({marks(len(piece))})", piece)
        found.update(dialect.from_id(row[0]) for row in rows)
    return found


def peek(dialect: Dialect, queue: str) -> JobSnapshot | None:
    """The job next in line."""
    rows = dialect.rows(f"SELECT job_id FROM {READY} WHERE queue = %s ORDER BY priority DESC, seq LIMIT 1", [queue])
    return find(dialect, dialect.from_id(rows[0][0])) if rows else None


def ready_of(dialect: Dialect, queue: str, task: str, but: int, cursor: str) -> Page:
    """Reads so many places of the line, whatever jobs are in them: a page has an end also where nothing is found."""
    after = [dialect.to_id(UUID(cursor))] if cursor else []
    rows = dialect.rows(
        f"SELECT r.job_id, j.task FROM {READY} r JOIN {JOBS} j ON j.id = r.job_id WHERE r.queue = %s "
        f"AND r.priority <> %s {'AND r.job_id > %s' if after else ''} ORDER BY r.job_id LIMIT {PAGE}",
        [queue, but, *after],
    )
    ids = [dialect.from_id(db_id) for db_id, name in rows if name == task]
    return Page(ids, str(dialect.from_id(rows[-1][0])) if len(rows) == PAGE else "")


def stats(dialect: Dialect, queue: str | None) -> list[QueueStats]:
    """How many jobs each queue has in each room. Counts the rooms, never the history."""
    database = dialect.connection.alias
    rooms: dict[str, Any] = {
        "ready": JobPriority.objects.using(database),
        "delayed": DelayedJob.objects.using(database).exclude(reason=DelayedJob.Reason.OUTBOX),
        "running": JobLock.objects.using(database).filter(name=""),
        "dead": DeadLetterJob.objects.using(database).filter(store=""),
    }
    found: dict[str, QueueStats] = {}
    now = dialect.now().timestamp()
    for room, rows in rooms.items():
        chosen = rows if queue is None else rows.filter(queue=queue)
        oldest = Min("seq") if room == "ready" else Value(None, output_field=BigIntegerField())
        # Of rows, not of keys: then an index that begins with the queue is all that is read.
        for name, count, seq in chosen.order_by().values_list("queue").annotate(rows=Count("*"), oldest=oldest):
            found[name] = found.get(name, QueueStats(name))._replace(**{room: count})
            if seq is not None:
                found[name] = found[name]._replace(oldest_ready_s=max(0.0, now - seq / 1e9))
    return [found[name] for name in sorted(found)]


def _snapshot(dialect: Dialect, job_id: UUID, row: Sequence[Any]) -> JobSnapshot:
    queue, task, args, priority, max_attempts, created_at, *rooms = row
    ready, delayed, leased = rooms[0:2], rooms[2:6], rooms[6:11]
    base = JobSnapshot(
        job_id=job_id,
        room=Room.READY,
        status=_status(ready[0], delayed[2], leased[1] is not None),
        queue=queue,
        task=task,
        args=args,
        priority=priority,
        attempt=ready[0] or 0,
        lease_no=ready[1] or 0,
        max_attempts=max_attempts,
        created_at=dialect.from_time(created_at),
    )
    if leased[1] is not None:
        attempt, lease_no, worker, claimed_at, cancel = leased
        return base._replace(
            room=Room.LEASED,
            attempt=attempt,
            lease_no=lease_no,
            worker_id=None if worker is None else dialect.from_id(worker),
            claimed_at=dialect.from_time(claimed_at),
            is_asked_to_stop=cancel is not None,
        )
    if ready[1] is not None:
        return base
    attempt, lease_no, reason, due_at = delayed
    return base._replace(
        room=Room.DELAYED,
        attempt=attempt or 0,
        lease_no=lease_no or 0,
        reason=str(reason or ""),
        due_at=None if due_at is None else dialect.from_time(due_at),
    )


def _status(attempts_in_line: int | None, reason_to_wait: str | None, is_leased: bool) -> JobStatus:
    """A job that moves may be seen in two rooms; the later one in its life wins."""
    if is_leased:
        return JobStatus.PROCESSING
    has_failed = attempts_in_line or reason_to_wait == DelayedJob.Reason.RETRY
    return JobStatus.RETRYING if has_failed else JobStatus.PENDING
