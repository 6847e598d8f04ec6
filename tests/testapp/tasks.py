"""Tasks the tests enqueue."""

from __future__ import annotations

from typing import Any

from django_jobqueue import NoRetry, task


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def noop(value: Any = None) -> None:
    return None


@task(retry=NoRetry())
def fail(message: str = "no") -> None:
    raise ValueError(message)
