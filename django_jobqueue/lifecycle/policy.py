"""What a job follows where its task says nothing: its queue's own settings, else the project's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed

from django_jobqueue.conf import conf
from django_jobqueue.jobs.retry import ExponentialBackoff, RetryStrategy

DEFAULT = ExponentialBackoff(max_attempts=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """An entry of `JOBQUEUE["QUEUES"]`, its profile filled in. None: as everywhere.

    For jobs: `timeout` (seconds) and `retry`. For a worker that serves the queue: `prefetch` (jobs it takes at most at
    once), `concurrency` (jobs it runs at once in one process), `memory_mb` (a process that needs more is replaced).
    `aging`: after so many seconds of being ready a job gets the highest priority that waits in the queue.
    For its backlog, see `workers.backlog`: from how many ready jobs on it is a warning, or critical, and which priority
    the jobs of some tasks get then.
    """

    timeout: float | None = None
    retry: RetryStrategy | None = None
    prefetch: int | None = None
    memory_mb: int | None = None
    concurrency: int | None = None
    aging: float | None = None
    backlog_warning: int | None = None
    backlog_critical: int | None = None
    backlog_priorities: Mapping[str, int | str] = field(default_factory=dict)


_PROFILES = {
    # Short calls of other people's services: mostly waiting, worth trying again soon, never worth waiting long for.
    "api": QueuePolicy(
        timeout=30, retry=ExponentialBackoff(max_attempts=6, base=2, cap=300), concurrency=16, memory_mb=512
    ),
    # Steps of minutes over many rows: one at a time, tried again when whatever was in the way may be gone.
    "pipeline": QueuePolicy(
        timeout=3_600, retry=ExponentialBackoff(max_attempts=4, base=60), prefetch=1, concurrency=1, memory_mb=2_048
    ),
    # Hours of computing with a model in memory: a second try costs as much as the first.
    "ml": QueuePolicy(
        timeout=14_400, retry=ExponentialBackoff(max_attempts=2, base=60), prefetch=1, concurrency=1, memory_mb=16_384
    ),
}


@lru_cache(maxsize=1024)
def queue_policy(queue: str) -> QueuePolicy:
    """What is special to a queue. Wrong entries are for `manage.py check` to tell."""
    given: dict[str, Any] = dict(conf().QUEUES.get(queue) or {})
    base = _PROFILES.get(given.pop("profile", ""), QueuePolicy())
    return replace(base, **{key: value for key, value in given.items() if key in QueuePolicy.__slots__})


def timeout_of(own: float | None, queue: str) -> float | None:
    """Seconds a job may run: what was said for it, else for its queue, else for all. None: for ever."""
    return own or queue_policy(queue).timeout or conf().TIMEOUT


def retry_strategy(own: RetryStrategy | None, queue: str) -> RetryStrategy:
    """The task's own strategy, else its queue's, else the project's, else three attempts with growing delays."""
    return own or queue_policy(queue).retry or conf().RETRY or DEFAULT


def worker_policy(queues: Sequence[str]) -> QueuePolicy:
    """What a worker keeps to that serves these queues (none: all), so that each of them has what was asked for it.

    It takes no more jobs at once than the strictest of them allows. It runs more than one at a time only when all of
    them allow it, and is as large as the largest may be.
    """
    served = [queue_policy(name) for name in queues or conf().QUEUES]
    everywhere = bool(queues)  # a worker of all queues meets some that nothing is said of
    return QueuePolicy(
        prefetch=min((one.prefetch for one in served if one.prefetch), default=None),
        concurrency=min((one.concurrency or 1 for one in served), default=None) if everywhere else None,
        memory_mb=max((one.memory_mb for one in served if one.memory_mb), default=None)
        if everywhere and all(one.memory_mb for one in served)
        else None,
    )


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "JOBQUEUE":
        queue_policy.cache_clear()


setting_changed.connect(_forget)
