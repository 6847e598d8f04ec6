"""Jobs for workers that run in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_jobqueue import NoRetry, task

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
