"""Every exception this package raises, and the three a task may raise to say what should become of it."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError


class JobQueueError(Exception):
    """Base of every error raised by django_jobqueue."""


class PayloadError(JobQueueError, TypeError):
    """A value can't be stored with a job: `path` says where it is (`args[0].price`), `problem` what is wrong."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[PayloadError], tuple[str, str]]:
        return (type(self), (self.path, self.problem))


class StoredFieldsInvalid(PayloadError):
    """The stored fields of a typed job can't be read as the types its class declares now."""


class InvalidPayload(JobQueueError, ValueError):
    """A job was described with a value out of range: queue name, delay, number of attempts."""


class InvalidPriority(JobQueueError, ValueError):
    """A priority is neither a name nor a whole number between -100 and 100."""


class InvalidRetryPolicy(JobQueueError, ValueError):
    """A retry strategy was built with values that make no sense together."""


class InvalidSchedule(JobQueueError, ValueError):
    """A schedule can't be read, or would never fire: the message says what is wrong and what to write."""


class UnknownTask(JobQueueError, LookupError):
    """No task is registered under this name in this process."""


class SignatureMismatch(JobQueueError, TypeError):
    """The stored arguments don't fit the task's function any more."""


class ResultError(JobQueueError, TypeError):
    """The task has done its work, but what it returned can't be stored. It is not run again: that would do it twice."""


class EnqueueError(JobQueueError):
    """The store could not take the job. The job was not stored, or its fate is unknown: pushing it again is safe."""


class StoreError(JobQueueError):
    """The store answered, and refused: what the server said is in the message. Trying again would not help."""


class StoreUnavailable(JobQueueError, OperationalError):
    """The store did not answer, or can't now: no connection, a failover, a server that loads its data.

    An `OperationalError` like that of a database that is away: workers wait and try again.
    """


class QueueFull(EnqueueError, StoreUnavailable):
    """The store has no memory left. Nothing was stored; there is room again when jobs have ended."""


STORE_ERRORS = (EnqueueError, StoreError, DatabaseError, InterfaceError, ImproperlyConfigured)
"""What a store of either kind raises that does not answer, refuses, or is not where the settings say."""


class WorkerNotAllowed(JobQueueError):
    """A worker without a token that the settings know, or with one that is not for its queues."""


class WorkerLost(JobQueueError):
    """Never raised: the error of an execution whose worker died or was silent for too long."""


class JobNotFound(JobQueueError, LookupError):
    """No such job, or it is not in the place where the action would apply."""


class ScheduleNotFound(JobQueueError, LookupError):
    """No schedule of this name, in this database."""


class JobTimeout(BaseException):
    """Raised in a job that has run for its `timeout`. The job may clean up; then it should end.

    Not an `Exception`: neither the job's own `except Exception` nor a library that retries errors of the network may
    take it for one of theirs.
    """

    def __init__(self, problem: str = "the job ran longer than its timeout") -> None:
        super().__init__(problem)


class JobCancelled(BaseException):
    """Raised in a job that is to be stopped by force, or by a job that has seen that it should: it ends as cancelled.

    Not an `Exception`, for the reasons `JobTimeout` is none.
    """

    def __init__(self, problem: str = "the job was asked to stop") -> None:
        super().__init__(problem)


class LeaseLost(JobQueueError):
    """Raised where a job completes in a transaction: it is not this worker's any more, so nothing of it may be kept."""


class JobControl(Exception):
    """Base of what a task raises to decide its own fate."""


class Retry(JobControl):
    """Raised by a task: run me again, after `in_` (seconds or timedelta), else after the delay its strategy gives.

    It spends an attempt like any failure; with none left the job goes to the dead letters.
    """

    def __init__(self, in_: timedelta | float | None = None, reason: str = "") -> None:
        super().__init__(reason or "the task asked to be retried")
        self.delay = None if in_ is None else seconds(in_)


class Discard(JobControl):
    """Raised by a task: don't run me again, whatever attempts are left. The job goes to the dead letters."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the task discarded itself")


class Snooze(JobControl):
    """Raised by a task: not now, again after `in_` (seconds or timedelta). The attempt is given back."""

    def __init__(self, in_: timedelta | float) -> None:
        self.delay = seconds(in_)
        super().__init__(f"snoozed for {self.delay:g} s")


def seconds(span: timedelta | float) -> float:
    """A span as seconds, never negative."""
    value = span.total_seconds() if isinstance(span, timedelta) else float(span)
    return max(0.0, value)
