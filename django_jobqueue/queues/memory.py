"""The store in memory: the reference model of the others, and a test double. One dictionary, one lock, nothing clever.

History and dead letters are plain values here, under the names their tables use, so that they can be compared.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.conf import conf
from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.base import (
    DEFAULT_LEASE,
    NO_ERROR,
    WORKER_LOST,
    ErrorRecord,
    Exchange,
    JobSnapshot,
    Move,
    Page,
    Queue,
    QueueStats,
    Reservation,
    Room,
    Settlement,
    WorkerIdentity,
    WorkerReport,
)

FINAL = ("completed", "cancelled", "discarded")
_OUTCOMES = {
    Move.COMPLETED: "completed",
    Move.CANCELLED: "cancelled",
    Move.RETRY: "retrying",
    Move.SNOOZE: "snoozed",
    Move.DEAD: "failed",
}
_REASONS = {Move.RETRY: "retry", Move.SNOOZE: "snooze"}


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


def _host_clock() -> datetime:
    return datetime.now(UTC)


class MemoryQueue(Queue):
    """Jobs in this process. `clock` is the store's clock: a test may give one that it moves itself."""

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

    # -- producers ---------------------------------------------------------------------------------------------------

    def push(self, *payloads: JobPayload, fresh: bool = False) -> list[UUID]:
        with self._changed:
            answers: dict[UUID, UUID] = {}
            for payload in payloads:
                if payload.id not in answers:
                    answers[payload.id] = self._store(payload)
            self._changed.notify_all()
            return [answers[payload.id] for payload in payloads]

    def _store(self, payload: JobPayload) -> UUID:
        if self._is_known(payload.id):
            return payload.id
        holder = self._holder(payload.unique_key)
        if holder is not None:
            return holder
        now = self.clock()
        job = Job(payload, now, now, lease_no=payload.lease_no)
        self.jobs[payload.id] = job
        if payload.is_delayed:
            self._delay(job, payload.run_after or now + timedelta(seconds=payload.delay or 0), "scheduled")
        else:
            self._line_up(job)
        return payload.id

    def _is_known(self, job_id: UUID) -> bool:
        over = any(one.job_id == job_id and one.outcome in FINAL for one in self.history)
        return over or job_id in self.jobs or job_id in self.dead_letters

    def _holder(self, key: str | None) -> UUID | None:
        return next((one for one, job in self.jobs.items() if key and job.payload.unique_key == key), None)

    def cancel(self, job_id: UUID) -> bool:
        with self._changed:
            job = self._waiting(job_id)
            if job is None:
                return False
            job.lease_no += 1
            job.worker_id = None
            self._record(job, "cancelled", args=job.payload.args)
            del self.jobs[job_id]
            return True

    def reprioritize(self, job_id: UUID, priority: int) -> bool:
        if not -100 <= priority <= 100:
            raise InvalidPayload(f"priority must be between -100 and 100, not {priority!r}")
        with self._changed:
            job = self._waiting(job_id)
            if job is None:
                return False
            job.payload = replace(job.payload, priority=priority)
            if job.room is Room.READY:
                self._line_up(job)
            return True

    def age(self, queue: str, seconds: float, limit: int) -> int:
        with self._changed:
            line = self._line(queue)
            top = max((job.payload.priority for job in line), default=0)
            since = self.clock() - timedelta(seconds=seconds)
            old = [job for job in line if job.payload.priority < top and job.ready_at <= since]
            aged = sorted(old, key=lambda job: (job.payload.priority, job.seq))[:limit]
            for job in aged:
                job.payload = replace(job.payload, priority=top)
            return len(aged)

    def run_now(self, job_id: UUID) -> bool:
        with self._changed:
            job = self._waiting(job_id)
            if job is None or job.due_at is None:
                return False
            self._line_up(job)
            return True

    def clear(self, queue: str | None = None) -> int:
        with self._changed:
            gone = [job_id for job_id, job in self._in(queue) if job.room is not Room.LEASED]
            for job_id in gone:
                if self.jobs[job_id].lease_no > 0:
                    self.cancel(job_id)  # it has run: a record keeps its id from running again
                else:
                    del self.jobs[job_id]
            return len(gone)

    # -- looking -----------------------------------------------------------------------------------------------------

    def find(self, job_id: UUID) -> JobSnapshot | None:
        with self._changed:
            job = self.jobs.get(job_id)
            return None if job is None else _snapshot(job)

    def peek(self, queue: str = "default") -> JobSnapshot | None:
        with self._changed:
            return next(map(_snapshot, self._line(queue)), None)

    def size(self, queue: str | None = None) -> int:
        with self._changed:
            return len(self._in(queue))

    def stats(self, queue: str | None = None) -> list[QueueStats]:
        with self._changed:
            now = self.clock()
            dead = [one.payload.queue for one in self.dead_letters.values()]
            names = {job.payload.queue for job in self.jobs.values()} | set(dead)
            return [self._stats(name, dead.count(name), now) for name in sorted(names) if queue in (None, name)]

    def _stats(self, queue: str, dead: int, now: datetime) -> QueueStats:
        rooms = [job.room for _, job in self._in(queue)]
        oldest = min((job.ready_at for job in self._line(queue)), default=now)
        ready, delayed, running = (rooms.count(room) for room in (Room.READY, Room.DELAYED, Room.LEASED))
        return QueueStats(queue, ready, delayed, running, dead, max(0.0, (now - oldest).total_seconds()))

    def queue_names(self) -> list[str]:
        with self._changed:
            return sorted({job.payload.queue for job in self.jobs.values() if job.room is Room.READY})

    def ready_of(self, queue: str, task: str, but: int, cursor: str = "") -> Page:
        with self._changed:
            found = [job.payload for job in self._line(queue)]
            return Page([one.id for one in found if one.task == task and one.priority != but])

    # -- workers -----------------------------------------------------------------------------------------------------

    def join(self, worker: WorkerIdentity) -> None:
        with self._changed:
            self.workers[worker.id] = Worker(self.clock() + timedelta(seconds=self.lease))

    def heartbeat(self, worker: UUID, report: WorkerReport = WorkerReport()) -> bool:  # noqa: B008 (immutable)
        with self._changed:
            if not self._is_alive(worker):
                return False
            self.workers[worker].expires_at = self.clock() + timedelta(seconds=self.lease)
            return True

    def leave(self, worker: UUID) -> None:
        with self._changed:
            for job in self._held_by(worker):
                if job.kill is None:
                    self._release(job)
                else:
                    self._end(job, "cancelled")
            if worker in self.workers:
                self.workers[worker].alive = False

    def exchange(self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int, worker: UUID) -> Exchange:
        with self._changed:
            now = self.clock()
            settled = [self._settle(one, now) for one in settlements]
            claimed = self._claim(queues, limit, worker) if limit > 0 else []
            return Exchange(settled, claimed, self._is_alive(worker))

    def reclaim(self) -> int:
        with self._changed:
            now = self.clock()
            for worker in self.workers.values():
                worker.alive = worker.alive and worker.expires_at >= now
            lost = [job for job in self.jobs.values() if job.room is Room.LEASED and not self._is_alive(job.worker_id)]
            for job in lost:
                self._lose(job)
            return len(lost)

    def promote(self) -> int:
        with self._changed:
            return self._promote()

    def declare_dead(self, worker: UUID, innocent: Collection[UUID] = ()) -> int:
        with self._changed:
            if worker in self.workers:
                self.workers[worker].alive = False
            lost = self._held_by(worker)
            for job in lost:
                if job.payload.id in innocent and job.kill is None:
                    self._release(job)
                else:
                    self._lose(job)
            return len(lost)

    def leases(self, worker: UUID) -> list[Reservation]:
        with self._changed:
            held = sorted(self._held_by(worker), key=lambda job: (-job.payload.priority, job.seq))
            return [_reservation(job) for job in held]

    def request_cancel(self, job_id: UUID, kill: bool = False) -> bool:
        with self._changed:
            job = self.jobs.get(job_id)
            if job is None or job.room is not Room.LEASED:
                return False
            job.kill = bool(job.kill or kill)
            return True

    def cancellations(self, *workers: UUID) -> dict[UUID, bool]:
        with self._changed:
            held = [job for worker in workers for job in self._held_by(worker)]
            return {job.payload.id: job.kill for job in held if job.kill is not None}

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        with self._changed:
            due = [job.due_at for job in self.jobs.values() if job.due_at is not None]
            rest = (min(due) - self.clock()).total_seconds() if due else timeout
            self._changed.wait_for(lambda: self._woken or self._has_ready(queues), max(0.0, min(timeout, rest)))
            woken, self._woken = self._woken, False
            return woken or rest < timeout or self._has_ready(queues)

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def transaction(self) -> AbstractContextManager[None]:
        """Nothing to begin: there is no database behind this one, and nothing is rolled back."""
        return nullcontext()

    # -- the moves; the caller holds the lock ------------------------------------------------------------------------

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
        return _reservation(job)

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
            wait_ms=_wait_ms(job) + start_ms if started else 0,
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


def _wait_ms(job: Job) -> int:
    """From ready to claimed."""
    return max(0, (job.claimed_at - job.ready_at) // timedelta(milliseconds=1)) if job.claimed_at else 0


def _reservation(job: Job) -> Reservation:
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
        wait_ms=_wait_ms(job),
        crash_budget=payload.crash_budget,
    )


def _snapshot(job: Job) -> JobSnapshot:
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
