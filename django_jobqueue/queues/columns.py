"""What every store writes of an execution that has ended: the columns of `job_history`, in the order of its rows."""

from __future__ import annotations

EXECUTION = (
    "job_id",
    "lease_no",
    "attempt",
    "queue",
    "task",
    "args",
    "priority",
    "outcome",
    "result",
    "error_class",
    "error_message",
    "traceback",
    "wait_ms",
    "run_ms",
    "memory_kb",
    "worker_id",
    "enqueued_at",
    "started_at",
    "finished_at",
)
