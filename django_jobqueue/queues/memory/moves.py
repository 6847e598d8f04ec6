"""From room to room, and out: what the verbs of the store in memory do to a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from django_jobqueue.conf import conf
from django_jobqueue.queues.base import (
    DEFAULT_LEASE,
    NO_ERROR,
    WORKER_LOST,
    ErrorRecord,
    Move,
    Queue,
    Reservation,
    Room,
    Settlement,
)
from django_jobqueue.queues.memory.rows import DeadLetter, Execution, Job, Worker, reservation_of, wait_ms_of

_OUTCOMES = {
    Move.COMPLETED: "completed",
    Move.CANCELLED: "cancelled",
    Move.RETRY: "retrying",
    Move.SNOOZE: "snoozed",
    Move.DEAD: "failed",
}
_REASONS = {Move.RETRY: "retry", Move.SNOOZE: "snooze"}


def _host_clock() -> datetime:
    return datetime.now(UTC)


class Moves(Queue):
    """The jobs, and all that happens to one. Whoever calls it holds the lock, `_changed`."""

    def __init__(
        self,
        alias: str = "default",
        database: str = "default",
        lease: float = DEFAULT_LEASE,
        clock: Callable[[], datetime] = _host_clock,
    ) -> None:
        self.alias = alias
        self.database = database
        self.lease = lease
        self.clock = clock
        self.jobs: dict[UUID, Job] = {}
        self.workers: dict[UUID, Worker] = {}
        self.history: list[Execution] = []
        self.dead_letters: dict[UUID, DeadLetter] = {}
        self._changed = threading.Condition()
        self._woken = False
        self._places = count(1)
        self._turn = 0

    def _in(self, queue: str | None) -> list[tuple[UUID, Job]]:
        return [(job_id, job) for job_id, job in self.jobs.items() if queue in (None, job.payload.queue)]

    def _line(self, queue: str) -> list[Job]:
        ready = [job for _, job in self._in(queue) if job.room is Room.READY]
        return sorted(ready, key=lambda job: (-job.payload.priority, job.seq))

    def _has_ready(self, queues: Sequence[str]) -> bool:
        return any(self._line(queue) for queue in queues or self.queue_names())

    def _waiting(self, job_id: UUID) -> Job | None:
        job = self.jobs.get(job_id)
        return None if job is None or job.room is Room.LEASED else job

    def _held_by(self, worker: UUID) -> list[Job]:
        return [job for job in self.jobs.values() if job.room is Room.LEASED and job.worker_id == worker]

    def _is_alive(self, worker: UUID | None) -> bool:
        return worker in self.workers and self.workers[worker].alive

    def _line_up(self, job: Job) -> None:
        """To the end of the line."""
        job.seq = next(self._places)
        job.ready_at = self.clock()
        job.room, job.due_at, job.reason = Room.READY, None, ""
        self._changed.notify_all()

    def _release(self, job: Job) -> None:
        """Back to the place it had, its attempt given back."""
        job.attempt -= 1
        job.room = Room.READY
        self._changed.notify_all()

    def _delay(self, job: Job, due_at: datetime, reason: str) -> None:
        job.room, job.due_at, job.reason = Room.DELAYED, due_at, reason

    def _promote(self) -> int:
        now = self.clock()
        due = [(job.due_at, job.payload.id, job) for job in self.jobs.values() if job.due_at and job.due_at <= now]
        for _, _, job in sorted(due, key=lambda one: one[:2]):
            self._line_up(job)
        return len(due)

    def _claim(self, queues: Sequence[str], limit: int, worker: UUID) -> list[Reservation]:
        self._promote()
        if not self._is_alive(worker):
            return []
        line = [job for queue in dict.fromkeys(queues or self._all_in_turn()) for job in self._line(queue)]
        return [self._lease(job, worker) for job in line[:limit]]

    def _all_in_turn(self) -> list[str]:
        names = self.queue_names()
        self._turn += 1
        start = self._turn % len(names) if names else 0
        return names[start:] + names[:start]

    def _lease(self, job: Job, worker: UUID) -> Reservation:
        job.room, job.worker_id, job.claimed_at = Room.LEASED, worker, self.clock()
        job.attempt += 1
        job.lease_no += 1
        return reservation_of(job)

    def _settle(self, one: Settlement, now: datetime) -> bool:
        job = self.jobs.get(one.reservation.job_id)
        if job is None or job.room is not Room.LEASED or job.lease_no != one.reservation.lease_no:
            return False
        if job.kill is not None and one.move is not Move.COMPLETED:
            one = one._replace(move=Move.CANCELLED)
        if one.move is Move.RELEASED:
            self._release(job)
            return True
        over = one.move in (Move.COMPLETED, Move.CANCELLED)
        self._record(job, _OUTCOMES[one.move], one.error, job.payload.args if over else "", one)
        if one.move in _REASONS:
            job.attempt -= one.move is Move.SNOOZE
            self._delay(job, now + timedelta(seconds=one.delay), _REASONS[one.move])
            return True
        if one.move is Move.DEAD:
            self._bury(job, one.reason, one.error)
        del self.jobs[job.payload.id]
        return True

    def _lose(self, job: Job) -> None:
        if job.kill is not None:
            self._end(job, "cancelled", WORKER_LOST)
            return
        job.crashes += 1
        self._record(job, "lost", WORKER_LOST)
        if job.crashes >= (job.payload.crash_budget or conf().CRASH_BUDGET):
            self._bury(job, "worker_lost", WORKER_LOST)
            del self.jobs[job.payload.id]
        else:
            self._release(job)

    def _end(self, job: Job, outcome: str, error: ErrorRecord = NO_ERROR) -> None:
        self._record(job, outcome, error, args=job.payload.args)
        del self.jobs[job.payload.id]

    def _record(
        self, job: Job, outcome: str, error: ErrorRecord = NO_ERROR, args: str = "", one: Settlement | None = None
    ) -> None:
        start_ms, run_ms = (one.start_ms, one.run_ms) if one else (0, 0)
        started = job.claimed_at + timedelta(milliseconds=start_ms) if job.worker_id and job.claimed_at else None
        record = Execution(
            job_id=job.payload.id,
            lease_no=job.lease_no,
            attempt=job.attempt,
            queue=job.payload.queue,
            task=job.payload.task,
            args=args,
            priority=job.payload.priority,
            outcome=outcome,
            result=one.result if one else "",
            error_class=error.class_path,
            error_message=error.message,
            traceback=error.traceback,
            wait_ms=wait_ms_of(job) + start_ms if started else 0,
            run_ms=run_ms,
            memory_kb=one.memory_kb if one else 0,
            worker_id=job.worker_id,
            enqueued_at=job.created_at,
            started_at=started,
            finished_at=started + timedelta(milliseconds=run_ms) if one and started else self.clock(),
        )
        self.history.append(record)

    def _bury(self, job: Job, reason: str, error: ErrorRecord) -> None:
        self.dead_letters[job.payload.id] = DeadLetter(
            job.payload, job.attempt, job.lease_no, job.crashes, reason, *error, job.created_at, self.clock()
        )
