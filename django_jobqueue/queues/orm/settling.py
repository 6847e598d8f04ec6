"""What a settled or lost lease becomes: rows for the room it goes to, and for the history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django_jobqueue import failpoints
from django_jobqueue.models import DeadLetterJob, DelayedJob, JobHistory
from django_jobqueue.queues.base import (
    NO_ERROR,
    WORKER_LOST,
    ErrorRecord,
    Move,
    Reservation,
    Settlement,
)
from django_jobqueue.queues.orm.dialect import MAX_SMALLINT, Dialect
from django_jobqueue.queues.orm.rows import DELAYED, JOBS, READY, insert
from django_jobqueue.queues.orm.values import JobRow, Lease

_OUTCOMES = {
    Move.COMPLETED: JobHistory.Outcome.COMPLETED,
    Move.CANCELLED: JobHistory.Outcome.CANCELLED,
    Move.RETRY: JobHistory.Outcome.RETRYING,
    Move.SNOOZE: JobHistory.Outcome.SNOOZED,
    Move.DEAD: JobHistory.Outcome.FAILED,
}
_REASONS = {Move.RETRY: DelayedJob.Reason.RETRY, Move.SNOOZE: DelayedJob.Reason.SNOOZE}


class Moves:
    """Collects the rows of one batch, then writes each table once."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.now = dialect.now()
        self._history: list[tuple[Any, ...]] = []
        self._ready: list[tuple[Any, ...]] = []
        self._delayed: list[tuple[Any, ...]] = []
        self._dead: list[tuple[UUID, tuple[Any, ...]]] = []
        self._over: list[UUID] = []

    def settle(self, one: Settlement, lease: Lease) -> None:
        """Make one decision true. A job that was asked to stop completes or is cancelled, nothing else."""
        if lease.cancel and one.move is not Move.COMPLETED:
            one = one._replace(move=Move.CANCELLED)
        if one.move is Move.RELEASED:
            self.release(lease)
            return
        self._record(one, lease)
        if one.move in _REASONS:
            self._delay(one, lease)
            return
        if one.move is Move.DEAD:
            self._bury(lease, one.reason, one.error)
        self._over.append(lease.job_id)

    def lose(self, lease: Lease, job: JobRow, budget: int) -> None:
        """The worker is gone: the attempt is given back, the crash is counted, and the last one buries the job.

        A job that was asked to stop has: whoever killed its worker may have meant just that.
        """
        if lease.cancel:
            self.cancel(lease, job, WORKER_LOST)
            return
        crashed = lease._replace(crashes=min(lease.crashes + 1, MAX_SMALLINT))
        outcome = JobHistory.Outcome.LOST
        self._history.append(self._history_row(crashed, job.task, "", job.created_at, outcome, error=WORKER_LOST))
        if crashed.crashes >= budget:
            self._bury(crashed, DeadLetterJob.Reason.WORKER_LOST, WORKER_LOST)
            self._over.append(lease.job_id)
        else:
            self.release(crashed)

    def give_back(self, lease: Lease, job: JobRow | None) -> None:
        """The worker leaves in good order. `job` is needed for one that was asked to stop: it has."""
        if lease.cancel and job is not None:
            self.cancel(lease, job)
        else:
            self.release(lease)

    def cancel(self, lease: Lease, job: JobRow, error: ErrorRecord = NO_ERROR) -> None:
        """A leased job that was asked to stop is over, whatever its worker would have said."""
        outcome = JobHistory.Outcome.CANCELLED
        self._history.append(self._history_row(lease, job.task, job.args, job.created_at, outcome, error=error))
        self._over.append(lease.job_id)

    def write(self) -> None:
        """All of it, in an order that never shows a job twice to a reader of one statement."""
        dialect = self.dialect
        dialect.write_history(self._history)
        failpoints.hit("settle.half_written")
        for job_id, values in self._dead:
            dialect.bury(job_id, values)
        dialect.delete_ids(JOBS, "id", self._over)
        dialect.insert_many(insert(DELAYED), self._delayed)
        dialect.insert_many(insert(READY), self._ready)
        dialect.announce({queue for _, queue, *_ in self._ready})

    def release(self, lease: Lease) -> None:
        """Back to the very place in the line it had, its attempt given back."""
        to_id = self.dialect.to_id
        self._ready.append(
            (
                to_id(lease.job_id),
                lease.queue,
                lease.priority,
                lease.seq,
                max(0, lease.attempt - 1),
                lease.lease_no,
                lease.crashes,
            )
        )

    def _delay(self, one: Settlement, lease: Lease) -> None:
        spent = lease.attempt if one.move is Move.RETRY else lease.attempt - 1
        self._delayed.append(
            (
                self.dialect.to_id(lease.job_id),
                lease.queue,
                lease.priority,
                self.dialect.to_time(self.now + timedelta(seconds=one.delay)),
                str(_REASONS[one.move]),
                "",
                spent,
                lease.lease_no,
                lease.crashes,
            )
        )

    def _bury(self, lease: Lease, reason: str, error: ErrorRecord) -> None:
        values = (
            lease.attempt,
            lease.lease_no,
            lease.crashes,
            str(reason),
            error.class_path,
            error.message,
            error.traceback,
            error.fingerprint,
            self.dialect.to_time(self.now),
        )
        self._dead.append((lease.job_id, values))

    def _record(self, one: Settlement, lease: Lease) -> None:
        job = one.reservation
        args = job.args if one.move in (Move.COMPLETED, Move.CANCELLED) else ""
        self._history.append(
            self._history_row(lease, job.task, args, job.created_at, _OUTCOMES[one.move], one, one.error)
        )

    def _history_row(
        self,
        lease: Lease,
        task: str,
        args: str,
        created_at: datetime,
        outcome: str,
        one: Settlement | None = None,
        error: ErrorRecord = NO_ERROR,
    ) -> tuple[Any, ...]:
        """One execution. Its times are the claim's, on the store's clock, plus what the worker measured."""
        start_ms, run_ms = (one.start_ms, one.run_ms) if one else (0, 0)
        started = lease.claimed_at + timedelta(milliseconds=start_ms)
        to_id, to_time = self.dialect.to_id, self.dialect.to_time
        return (
            to_id(lease.job_id),
            lease.lease_no,
            lease.attempt,
            lease.queue,
            task,
            args,
            lease.priority,
            str(outcome),
            one.result if one else "",
            error.class_path,
            error.message,
            error.traceback,
            lease.wait_ms + start_ms,
            run_ms,
            one.memory_kb if one else 0,
            to_id(lease.worker_id),
            to_time(created_at),
            to_time(started),
            to_time(started + timedelta(milliseconds=run_ms) if one else self.now),
        )


def settle_batch(dialect: Dialect, settlements: Sequence[Settlement]) -> list[bool]:
    """Settle in the caller's transaction. True for each whose lease was held; of two for one lease the first counts."""
    first: dict[tuple[int, int], Settlement] = {}
    for one in settlements:  # by the number of an id: UUIDs are hashed and compared in Python
        first.setdefault((one.reservation.job_id.int, one.reservation.lease_no), one)
    held = dialect.settle_completed(list(first.values()))
    if held is not None and len(held) == len(settlements):
        failpoints.hit("settle.before_commit")
        return [True] * len(settlements)
    rest = [one for one in first.values() if held is None or one.move is not Move.COMPLETED]
    settled = set(held or ())
    if rest:
        leases = dialect.take_leases(rest)
        moves = Moves(dialect)
        for one in rest:
            lease = leases.pop(one.reservation.job_id, None) if _is_current(one.reservation, leases) else None
            if lease is not None:
                moves.settle(one, lease)
                settled.add((lease.job_id, lease.lease_no))
        moves.write()
    failpoints.hit("settle.before_commit")
    return [_take_once(settled, one.reservation) for one in settlements]


def _is_current(reservation: Reservation, leases: dict[UUID, Lease]) -> bool:
    lease = leases.get(reservation.job_id)
    return lease is not None and lease.lease_no == reservation.lease_no


def _take_once(settled: set[tuple[UUID, int]], reservation: Reservation) -> bool:
    key = (reservation.job_id, reservation.lease_no)
    if key not in settled:
        return False
    settled.discard(key)
    return True
