"""What the contract asks of a store's test beside the `queue` fixture, and the words its tests are written in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connections

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Move, Queue, Reservation, Settlement, WorkerIdentity

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
FAR_AHEAD = datetime(2101, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
HOUR = 3600.0
NO_CALL = '{"args":[],"kwargs":{}}'


class Hooks:
    """What stores can't share. History and dead letters are in the database for every store but memory."""

    def make_due(self, queue: Any, job_id: UUID, due_at: datetime = LONG_AGO) -> None:
        """Set the due time of a delayed job."""
        raise NotImplementedError

    def expire_worker(self, queue: Any, worker: UUID) -> None:
        """Make a worker's last heartbeat too long ago. It is not declared dead yet: `reclaim` does that."""
        raise NotImplementedError

    def history(self, queue: Any, job_id: UUID) -> list[Any]:
        """The executions of a job by lease number, with the attributes of `JobHistory`."""
        return list(JobHistory.objects.using(queue.database).filter(job_id=job_id).order_by("lease_no"))

    def dead_letter(self, queue: Any, job_id: UUID) -> Any:
        """The dead letter with the attributes of `DeadLetterJob`, or None."""
        return DeadLetterJob.objects.using(queue.database).filter(id=job_id).first()

    def drop_dead_letter(self, queue: Any, job_id: UUID) -> None:
        DeadLetterJob.objects.using(queue.database).filter(id=job_id).delete()

    # -- the same for every store ------------------------------------------------------------------------------------

    def outcomes(self, queue: Queue, job_id: UUID) -> list[str]:
        return [str(one.outcome) for one in self.history(queue, job_id)]

    def revive(self, queue: Queue, job_id: UUID) -> list[UUID]:
        """Bring a dead job back the way lifecycle/dead_letters.py does."""
        dead = self.dead_letter(queue, job_id)
        payload = job(id=job_id, queue=dead.queue, lease_no=dead.lease_no, times_retried=dead.times_retried + 1)
        with queue.transaction():
            self.drop_dead_letter(queue, job_id)
            return queue.push(payload)


def job(**values: Any) -> JobPayload:
    return JobPayload(**{"task": "tests.noop", "args": NO_CALL, "max_attempts": 3, **values})


def jobs(count: int, **values: Any) -> list[JobPayload]:
    return [job(**values) for _ in range(count)]


def joined(queue: Queue) -> UUID:
    """A worker that has joined."""
    worker = WorkerIdentity(name="tester", host="here", pid=1)
    queue.join(worker)
    return worker.id


def claim(
    queue: Queue, limit: int = 1, worker: UUID | None = None, queues: Iterable[str] = ("default",)
) -> list[Reservation]:
    return queue.reserve(list(queues), limit, worker or joined(queue))


def claim_one(queue: Queue, worker: UUID | None = None) -> Reservation:
    (reservation,) = claim(queue, 1, worker)
    return reservation


def push_and_claim(queue: Queue, worker: UUID | None = None, **values: Any) -> Reservation:
    queue.push(job(**values))
    return claim_one(queue, worker)


def settle(queue: Queue, reservation: Reservation, move: Move = Move.COMPLETED, **values: Any) -> bool:
    (answer,) = queue.settle([Settlement(reservation, move, **values)])
    return answer


def ids(reservations: Iterable[Reservation]) -> list[UUID]:
    return [one.job_id for one in reservations]


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
    return value


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run calls in threads that start at the same moment; their answers in order. An error in one is raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait(30)
            return call()
        finally:
            connections.close_all()  # each thread has connections of its own

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
