"""Dead letters for tests, made the way a worker makes them or written by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import ErrorRecord, Move, Queue, Settlement, WorkerIdentity

ADD = "tests.testapp.tasks.add"
BOOM = ErrorRecord(
    "builtins.ValueError", "boom", 'Traceback (most recent call last):\n  File "x.py"\nValueError: boom', "f"
)


def die(queue: Queue, /, **payload: Any) -> DeadLetterJob:
    """Push a job, claim it, and settle it as dead."""
    given = JobPayload(**{"task": ADD, "args": encode_call([1, 2], {}), **payload})
    queue.push(given)
    worker = WorkerIdentity(name="undertaker")
    queue.join(worker)
    job = queue.pop([given.queue], worker.id)
    assert job is not None
    assert job.job_id == given.id
    assert queue.settle([Settlement(job, Move.DEAD, reason="exhausted", error=BOOM, run_ms=7)]) == [True]
    queue.leave(worker.id)
    return DeadLetterJob.objects.using(queue.database).get(pk=given.id)


def write_letter(using: str = "default", **fields: Any) -> DeadLetterJob:
    """A row as anybody who can write to the table may write it."""
    return DeadLetterJob.objects.using(using).create(**letter_fields(**fields))


def letter_fields(**fields: Any) -> dict[str, Any]:
    now = timezone.now()
    return {
        "id": uuid7(),
        "queue": "default",
        "task": ADD,
        "args": '{"args":[1,2],"kwargs":{}}',
        "priority": 0,
        "max_attempts": 3,
        "attempt": 3,
        "lease_no": 3,
        "reason": "exhausted",
        "error_class": "builtins.ValueError",
        "error_message": "boom",
        "traceback": "Traceback",
        "enqueued_at": now - timedelta(minutes=5),
        "failed_at": now,
        **fields,
    }


def write_history(using: str = "default", **fields: Any) -> JobHistory:
    now = timezone.now()
    return JobHistory.objects.using(using).create(
        **{
            "job_id": uuid7(),
            "lease_no": 1,
            "attempt": 1,
            "queue": "default",
            "task": ADD,
            "outcome": "completed",
            "enqueued_at": now,
            "started_at": now,
            "finished_at": now,
            **fields,
        }
    )
