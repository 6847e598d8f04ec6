"""What the store in memory keeps.

History and dead letters are plain values, under the names their tables use, so that they can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import JobSnapshot, Reservation, Room


class Execution(NamedTuple):
    """A line of the history: what became of one execution."""

    job_id: UUID
    lease_no: int
    attempt: int
    queue: str
    task: str
    args: str
    priority: int
    outcome: str
    result: str
    error_class: str
    error_message: str
    traceback: str
    wait_ms: int
    run_ms: int
    memory_kb: int
    worker_id: UUID | None
    enqueued_at: datetime
    started_at: datetime | None
    finished_at: datetime


class DeadLetter(NamedTuple):
    """A dead job, whole, and why it died."""

    payload: JobPayload
    attempt: int
    lease_no: int
    crashes: int
    reason: str
    error_class: str
    error_message: str
    traceback: str
    fingerprint: str
    enqueued_at: datetime
    failed_at: datetime


@dataclass(slots=True)
class Job:
    """A live job. `seq` is its place in the line, kept while it runs."""

    payload: JobPayload
    created_at: datetime
    ready_at: datetime
    room: Room = Room.READY
    seq: int = 0
    attempt: int = 0
    lease_no: int = 0
    crashes: int = 0
    due_at: datetime | None = None
    reason: str = ""
    worker_id: UUID | None = None
    claimed_at: datetime | None = None
    kill: bool | None = None
    """Whether it is to be killed; None: nobody asked it to stop."""


@dataclass(slots=True)
class Worker:
    """A worker that has joined; `alive` until it left or was declared dead."""

    expires_at: datetime
    alive: bool = True


def wait_ms_of(job: Job) -> int:
    """From ready to claimed."""
    return max(0, (job.claimed_at - job.ready_at) // timedelta(milliseconds=1)) if job.claimed_at else 0


def reservation_of(job: Job) -> Reservation:
    """A leased job as its worker knows it."""
    payload = job.payload
    assert job.claimed_at is not None  # noqa: S101 (it is leased)
    return Reservation(
        job_id=payload.id,
        lease_no=job.lease_no,
        attempt=job.attempt,
        crashes=job.crashes,
        queue=payload.queue,
        priority=payload.priority,
        task=payload.task,
        args=payload.args,
        max_attempts=payload.max_attempts,
        timeout=payload.timeout,
        times_retried=payload.times_retried,
        created_at=job.created_at,
        claimed_at=job.claimed_at,
        wait_ms=wait_ms_of(job),
        crash_budget=payload.crash_budget,
    )


def snapshot_of(job: Job) -> JobSnapshot:
    running = job.room is Room.LEASED
    retrying = job.reason == "retry" if job.room is Room.DELAYED else job.attempt > 0
    waiting = JobStatus.RETRYING if retrying else JobStatus.PENDING
    payload = job.payload
    return JobSnapshot(
        job_id=payload.id,
        room=job.room,
        status=JobStatus.PROCESSING if running else waiting,
        queue=payload.queue,
        task=payload.task,
        args=payload.args,
        priority=payload.priority,
        attempt=job.attempt,
        lease_no=job.lease_no,
        max_attempts=payload.max_attempts,
        created_at=job.created_at,
        reason=job.reason,
        due_at=job.due_at,
        worker_id=job.worker_id if running else None,
        claimed_at=job.claimed_at if running else None,
        is_asked_to_stop=running and job.kill is not None,
    )
