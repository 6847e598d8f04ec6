"""The columns the hot statements write, in the order they write them."""

from __future__ import annotations

from django_jobqueue.queues.columns import EXECUTION

JOBS = "jobqueue_jobs"
READY = "jobqueue_job_priorities"
DELAYED = "jobqueue_delayed_jobs"
LOCKS = "jobqueue_job_locks"
WORKERS = "jobqueue_worker_processes"
HISTORY = "jobqueue_job_history"
DEAD = "jobqueue_dead_letter_jobs"

OURS = "reason <> 'outbox'"
"""Delayed jobs of this store. The others are on their way to another one, and nobody's business here."""

COLUMNS = {
    JOBS: (
        "id",
        "queue",
        "task",
        "args",
        "priority",
        "max_attempts",
        "timeout",
        "crash_budget",
        "unique_key",
        "concurrency_key",
        "times_retried",
        "created_at",
    ),
    READY: ("job_id", "queue", "priority", "seq", "attempt", "lease_no", "crashes"),
    DELAYED: ("job_id", "queue", "priority", "due_at", "reason", "waiting_on", "attempt", "lease_no", "crashes"),
    LOCKS: (
        "id",
        "name",
        "worker_id",
        "lease_no",
        "queue",
        "priority",
        "seq",
        "attempt",
        "crashes",
        "claimed_at",
    ),
    HISTORY: EXECUTION,
    DEAD: (
        "id",
        "queue",
        "task",
        "args",
        "priority",
        "max_attempts",
        "timeout",
        "crash_budget",
        "unique_key",
        "concurrency_key",
        "batch_id",
        "times_retried",
        "enqueued_at",
        "attempt",
        "lease_no",
        "crashes",
        "reason",
        "error_class",
        "error_message",
        "traceback",
        "fingerprint",
        "failed_at",
    ),
}


def insert(table: str, verb: str = "INSERT INTO", tail: str = "") -> str:
    """`INSERT INTO table (…) VALUES (%s, …)` for all its columns."""
    columns = COLUMNS[table]
    return f"{verb} {table} ({', '.join(columns)}) VALUES ({marks(len(columns))}) {tail}".rstrip()


def marks(count: int) -> str:
    """`%s, %s, %s`"""
    return ", ".join(["%s"] * count)
