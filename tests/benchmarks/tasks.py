"""The job that is measured, for systems that have a `django.tasks` backend."""

from __future__ import annotations

import asyncio
import time

from tests.benchmarks import recording

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task


@task
def noop(sent_ns: int) -> None:
    recording.run(sent_ns)


@task
def keep(text: str) -> None:
    """Waits in the line, for the sake of its size."""


@task
def pause(seconds: float) -> None:
    recording.run(0)
    time.sleep(seconds)


@task
def burn(seconds: float) -> None:
    """Keeps a core busy for so long, by the thread's own clock."""
    recording.run(0)
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@task
async def pause_async(seconds: float) -> None:
    recording.run(0)
    await asyncio.sleep(seconds)
