"""One ended execution, as a value: everything its row in the history, and its dead letter, are made of."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.queues.base import ErrorRecord


class Entry(NamedTuple):
    """`outcome` is one of `JobHistory.Outcome`. `dead_reason` says why the job is a dead letter now; None: it is none.

    `args` is the encoded call. `started_at` is None for what never ran: a job that was cancelled while it waited. Times
    are the store's.
    """

    job_id: UUID
    lease_no: int
    attempt: int
    crashes: int
    queue: str
    priority: int
    task: str
    args: str
    max_attempts: int
    timeout: float | None
    unique_key: str | None
    concurrency_key: str
    times_retried: int
    outcome: str
    dead_reason: str | None
    result: str
    error: ErrorRecord
    wait_ms: int
    run_ms: int
    memory_kb: int
    worker_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    crash_budget: int | None = None
