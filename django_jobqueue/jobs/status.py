"""The states of a job, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job is in its life, in one word. Each room of the store holds jobs of one or two of these."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """True when the queue is done with the job. Only an operator moves it on, and only out of the dead letters."""
        return self in _FINAL

    def can_become(self, other: JobStatus | str) -> bool:
        """Whether `other` may follow directly. A word that is no status can't follow anything."""
        return other in TRANSITIONS[self]


_FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PENDING: frozenset({JobStatus.PROCESSING, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    # Back to pending: released by a stopping worker, snoozed, or reclaimed from a dead one. The run left no verdict.
    JobStatus.PROCESSING: frozenset(
        {
            JobStatus.COMPLETED,
            JobStatus.FAILED,
            JobStatus.RETRYING,
            JobStatus.PENDING,
            JobStatus.CANCELLED,
            JobStatus.EXPIRED,
        }
    ),
    # Waiting for its next attempt, in the delayed room and then in the line.
    JobStatus.RETRYING: frozenset({JobStatus.PROCESSING, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    # Both are dead letters, which an operator may send back: same id, next lease number.
    JobStatus.FAILED: frozenset({JobStatus.PENDING}),
    JobStatus.EXPIRED: frozenset({JobStatus.PENDING}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}
