"""Jobs for workers that run in the test's own process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django_jobqueue import NoRetry, task
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import Queue

LONG = 60.0
"""Seconds: nothing that works takes so long."""

ran: list[str] = []
hooks: dict[str, Callable[[], Any]] = {}


@task
def record(name: str) -> Any:
    """Says that it ran, then does what the test has put in `hooks` under its name."""
    ran.append(name)
    return hooks[name]() if name in hooks else None


@task(retry=NoRetry())
def broken(name: str) -> None:
    ran.append(name)
    raise ValueError(name)


def push(queue: Queue, /, *names: str, task=record, **options: Any) -> list[UUID]:
    return queue.push(*(JobPayload.create(task, (name,), **options) for name in names))


def nap() -> None:
    """In pieces: an exception for a thread comes when it runs Python code again."""
    for _ in range(10_000):
        time.sleep(0.005)
