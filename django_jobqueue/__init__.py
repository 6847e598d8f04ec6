"""A job queue and scheduler for Django.

Names are imported on first use: `from django_jobqueue import task` works before Django's apps are ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_jobqueue.version import __version__ as __version__

if TYPE_CHECKING:
    from django_jobqueue.compat import JobContext as JobContext
    from django_jobqueue.decorators import Job as Job
    from django_jobqueue.decorators import task as task
    from django_jobqueue.exceptions import Discard as Discard
    from django_jobqueue.exceptions import JobCancelled as JobCancelled
    from django_jobqueue.exceptions import JobTimeout as JobTimeout
    from django_jobqueue.exceptions import Retry as Retry
    from django_jobqueue.exceptions import Snooze as Snooze
    from django_jobqueue.jobs.payload import JobPayload as JobPayload
    from django_jobqueue.jobs.priority import QueuePriority as QueuePriority
    from django_jobqueue.jobs.retry import ExponentialBackoff as ExponentialBackoff
    from django_jobqueue.jobs.retry import FixedDelays as FixedDelays
    from django_jobqueue.jobs.retry import NoRetry as NoRetry
    from django_jobqueue.jobs.retry import RetryStrategy as RetryStrategy
    from django_jobqueue.jobs.schedule import at as at
    from django_jobqueue.jobs.schedule import cron as cron
    from django_jobqueue.jobs.schedule import every as every
    from django_jobqueue.jobs.schedule import manual as manual
    from django_jobqueue.jobs.status import JobStatus as JobStatus
    from django_jobqueue.lifecycle.cancelling import Cancellation as Cancellation
    from django_jobqueue.lifecycle.cancelling import cancel as cancel
    from django_jobqueue.queues import get_queue as get_queue

_HOMES = {
    "Cancellation": "lifecycle.cancelling",
    "Discard": "exceptions",
    "ExponentialBackoff": "jobs.retry",
    "FixedDelays": "jobs.retry",
    "Job": "decorators",
    "JobCancelled": "exceptions",
    "JobContext": "compat",
    "JobPayload": "jobs.payload",
    "JobStatus": "jobs.status",
    "JobTimeout": "exceptions",
    "NoRetry": "jobs.retry",
    "QueuePriority": "jobs.priority",
    "Retry": "exceptions",
    "RetryStrategy": "jobs.retry",
    "Snooze": "exceptions",
    "at": "jobs.schedule",
    "SchedulerService": "scheduling.service",
    "TaskExecutionResult": "scheduling.service",
    "cancel": "lifecycle.cancelling",
    "chore": "scheduling.chores",
    "cron": "jobs.schedule",
    "every": "jobs.schedule",
    "get_queue": "queues",
    "manual": "jobs.schedule",
    "task": "decorators",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'django_jobqueue' has no attribute {name!r}")
    return getattr(import_module(f"django_jobqueue.{home}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
