"""The verbs of the store in memory: each takes the lock, and says what it does to which jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import (
    Exchange,
    JobSnapshot,
    Page,
    QueueStats,
    Reservation,
    Room,
    Settlement,
    WorkerIdentity,
    WorkerReport,
)
from django_jobqueue.queues.memory.moves import Moves
from django_jobqueue.queues.memory.rows import Job, Worker, reservation_of, snapshot_of

FINAL = ("completed", "cancelled", "discarded")


class MemoryQueue(Moves):
    """Jobs in this process. `clock` is the store's clock: a test may give one that it moves itself."""

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
            return None if job is None else snapshot_of(job)

    def peek(self, queue: str = "default") -> JobSnapshot | None:
        with self._changed:
            return next(map(snapshot_of, self._line(queue)), None)

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
            return [reservation_of(job) for job in held]

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
