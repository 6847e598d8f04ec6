"""What the scripts answer, as the values of the queue interface."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import JobSnapshot, QueueStats, Room, Settlement
from django_jobqueue.queues.redis import packed, records
from django_jobqueue.queues.redis.entries import Entry

_ROOMS = {b"r": Room.READY, b"d": Room.DELAYED, b"l": Room.LEASED}
ASKED_TO_STOP = {False: b"c", True: b"k"}
"""What stands in the state of a leased job that was asked to stop, by whether it is to be killed."""
_REASONS = {b"r": "retry", b"s": "snooze", b" ": "scheduled"}


def entry(one: Settlement, holder: UUID) -> Entry:
    """What `packed.unpack_entry` would read back, from what the worker knows already."""
    job = one.reservation
    started = job.claimed_at + timedelta(milliseconds=one.start_ms)
    return Entry(
        job_id=job.job_id,
        lease_no=job.lease_no,
        attempt=job.attempt,
        crashes=job.crashes,
        queue=job.queue,
        priority=job.priority,
        task=job.task,
        args=job.args,
        max_attempts=job.max_attempts,
        timeout=job.timeout,
        unique_key=None,
        concurrency_key="",
        times_retried=job.times_retried,
        outcome=packed.OUTCOMES[packed.LETTERS[one.move]],
        dead_reason=None,
        result=one.result,
        error=one.error,
        wait_ms=job.wait_ms + one.start_ms,
        run_ms=one.run_ms,
        memory_kb=one.memory_kb,
        worker_id=holder,
        created_at=job.created_at,
        started_at=started,
        finished_at=started + timedelta(milliseconds=one.run_ms),
    )


def snapshot(job_id: UUID, state: packed.State, record: records.Record, due: bytes) -> JobSnapshot:
    room = _ROOMS.get(state.room, Room.READY)
    is_running = room is Room.LEASED
    return JobSnapshot(
        job_id=job_id,
        room=room,
        status=status(state),
        queue=record.queue,
        task=record.task,
        args=record.args,
        priority=state.priority,
        attempt=state.attempt,
        lease_no=state.lease_no,
        max_attempts=record.max_attempts,
        created_at=record.created_at,
        reason=_REASONS.get(state.reason, "") if room is Room.DELAYED else "",
        due_at=records.moment(float(due)) if due else None,
        worker_id=state.worker_id if is_running else None,
        claimed_at=records.moment(state.claimed_at) if is_running else None,
        is_asked_to_stop=is_running and state.reason in ASKED_TO_STOP.values(),
    )


def status(state: packed.State) -> JobStatus:
    room = _ROOMS.get(state.room, Room.READY)
    if room is Room.LEASED:
        return JobStatus.PROCESSING
    is_retrying = _REASONS.get(state.reason) == "retry" if room is Room.DELAYED else state.attempt > 0
    return JobStatus.RETRYING if is_retrying else JobStatus.PENDING


def stats(row: tuple[bytes, int, int, int, bytes]) -> QueueStats:
    """How a queue is; its dead letters are in the tables."""
    name, ready, delayed, running, oldest = row
    return QueueStats(name.decode(), ready, delayed, running, 0, int(oldest) / 1e6)


def cancellations(flat: Sequence[bytes]) -> dict[UUID, bool]:
    """Jobs that were asked to stop, and whether they are to be killed."""
    return {UUID(bytes=job_id): mark == ASKED_TO_STOP[True] for job_id, mark in zip(flat[::2], flat[1::2], strict=True)}
