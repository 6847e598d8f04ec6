"""For a project's tests: run what is due, here and now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.db import connections, transaction

from django_jobqueue.compat import TaskResult
from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.lifecycle.results import find
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.workers.executor import Executor, Interrupted


def run_all(backend: str = "default", *, max_jobs: int = 1_000) -> list[TaskResult]:
    """Run every job that is due, in this process, until none is left; the results in the order the jobs ran.

    Jobs enqueued by jobs run too; what is due later (delayed, or waiting for its retry) stays. Works inside a
    `TestCase`: a job that breaks the transaction only loses its own writes. `KeyboardInterrupt` passes through and
    its job is given back. Raises `RuntimeError` after `max_jobs`, for jobs that enqueue each other for ever.
    """
    queue = get_queue(backend)
    worker = WorkerIdentity(name="run_all")
    queue.join(worker)
    executor = Executor(queue, worker.id, around=savepoints)
    executor.passes_through = (KeyboardInterrupt, Interrupted)
    ran: list[TaskResult] = []
    try:
        while (job := queue.pop((), worker.id)) is not None:
            if len(ran) >= max_jobs:
                queue.settle([released(job)])
                raise RuntimeError(f"run_all ran {max_jobs} jobs and there are more: do jobs enqueue each other for ever?")
            try:
                settlement = executor.run(job, time.monotonic())
            except BaseException:
                queue.settle([released(job)])
                raise
            queue.settle([settlement])
            result = find(queue, job.job_id)
            if result is not None:
                ran.append(result)
    finally:
        queue.leave(worker.id)
    return ran


@contextmanager
def savepoints() -> Iterator[None]:
    """A savepoint on every connection that is in a transaction; rolled back only where a job broke it."""
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block and not connection.needs_rollback:
                stack.enter_context(_savepoint(connection.alias))
        yield


@contextmanager
def _savepoint(alias: str) -> Iterator[None]:
    mark = transaction.savepoint(using=alias)
    try:
        yield
    finally:
        if transaction.get_rollback(using=alias):
            transaction.set_rollback(False, using=alias)
            transaction.savepoint_rollback(mark, using=alias)
        else:
            transaction.savepoint_commit(mark, using=alias)
