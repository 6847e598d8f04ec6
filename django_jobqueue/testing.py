"""For a project's tests: run what is due, here and now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connections

from django_jobqueue.compat import TaskResult
from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.lifecycle.results import find
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Queue, Reservation, WorkerIdentity
from django_jobqueue.workers.announcer import Announcer
from django_jobqueue.workers.atomically import Stored
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.hygiene import clean_connections
from django_jobqueue.workers.interruption import Interrupted, JobWindow


def run_all(backend: str = "default", *, max_jobs: int = 1_000) -> list[TaskResult]:
    """Run every job that is due, in this process, until none is left; the results in the order the jobs ran.

    Jobs enqueued by jobs run too; what is due later (delayed, or waiting for its retry) stays. Works inside a
    `TestCase`: a job that breaks the transaction only loses its own writes. `KeyboardInterrupt` passes through and
    its job is given back. Raises `RuntimeError` after `max_jobs`, for jobs that enqueue each other for ever.
    """
    queue = get_queue(backend)
    worker = WorkerIdentity(name="run_all")
    queue.join(worker)
    announcer = Announcer(queue, passes_through=(KeyboardInterrupt, Interrupted))
    executor = Executor(queue, worker.id, Isolation(), announcer=announcer)
    ran: list[TaskResult | None] = []
    try:
        while (job := _next(queue, worker.id)) is not None:
            if len(ran) >= max_jobs:
                queue.settle([released(job)])
                raise RuntimeError(
                    f"run_all ran {max_jobs} jobs and there are more: do jobs enqueue each other for ever?"
                )
            try:
                settlement = executor.run(job, time.monotonic())
            except BaseException:
                queue.settle([released(job)])
                raise
            if not isinstance(settlement, Stored):
                queue.settle([settlement])
            ran.append(find(queue, job.job_id))
    finally:
        queue.leave(worker.id)
    return [result for result in ran if result is not None]


def _next(queue: Queue, worker: UUID) -> Reservation | None:
    queue.bring_in()
    return queue.pop((), worker)


class Isolation(JobWindow):
    """What a job leaves of its transactions, it leaves to nobody.

    Inside a transaction (a `TestCase`) a job runs behind a savepoint, rolled back only when the job broke it; outside,
    its connections are cleaned as a worker does it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()

    def open(self) -> None:
        open_before = [one for one in connections.all(initialized_only=True) if one.in_atomic_block]
        self._stack.callback(clean_connections, spare={one.alias for one in open_before})
        for connection in open_before:
            if not connection.needs_rollback:
                self._stack.enter_context(_savepoint(connection))
        super().open()

    def shut(self) -> None:
        super().shut()
        self._stack.close()


@contextmanager
def _savepoint(connection: Any) -> Iterator[None]:
    mark = connection.savepoint()
    blocks, savepoints = len(connection.atomic_blocks), len(connection.savepoint_ids)
    connection.savepoint_ids.append(mark)  # so that a rollback forgets what the job wanted done on commit
    try:
        yield
    finally:
        left_open = len(connection.atomic_blocks) > blocks
        del connection.atomic_blocks[blocks:], connection.savepoint_ids[savepoints:]
        if left_open or connection.needs_rollback or not _released(connection, mark):
            connection.needs_rollback = False
            connection.savepoint_rollback(mark)
            connection.savepoint_commit(mark)


def _released(connection: Any, mark: str) -> bool:
    """PostgreSQL refuses in a transaction in which any statement failed, even one that the job caught."""
    try:
        connection.savepoint_commit(mark)
    except DatabaseError:
        return False
    return True
