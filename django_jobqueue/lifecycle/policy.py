"""Which retry strategy a job follows."""

from __future__ import annotations

from django_jobqueue.conf import conf
from django_jobqueue.jobs.retry import ExponentialBackoff, RetryStrategy

DEFAULT = ExponentialBackoff(max_attempts=3)


def retry_strategy(own: RetryStrategy | None) -> RetryStrategy:
    """The task's own strategy, else the project's (`JOBQUEUE["RETRY"]`), else three attempts with growing delays."""
    return own or conf().RETRY or DEFAULT
