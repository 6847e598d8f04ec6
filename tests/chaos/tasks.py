"""Jobs of every ending; each writes down when it begins and when it is through."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django_jobqueue import FixedDelays, NoRetry, Snooze, task
from tests.chaos.apps import Run, running
from tests.chaos.log import note
from tests.chaos.models import Effect


@contextmanager
def noted() -> Iterator[Run]:
    run = running.get()
    note("start", *run)
    try:
        yield run
    finally:
        note("end", *run)


@task
def work(ms: int) -> int:
    """Gives the number of its lease, so that the history shows whose result was stored."""
    with noted() as run:
        time.sleep(ms / 1_000)
    return run.lease_no


@task(retry=FixedDelays([0.05]))
def flaky(ms: int) -> int:
    with noted() as run:
        time.sleep(ms / 1_000)
        if run.attempt == 1:
            raise ValueError("the first time")
    return run.lease_no


@task(retry=FixedDelays([0.05, 0.05]))
def hopeless(ms: int) -> None:
    """Three attempts, and a dead letter."""
    with noted():
        time.sleep(ms / 1_000)
        raise ValueError("always")


@task(retry=NoRetry())
def doomed(ms: int) -> None:
    with noted():
        time.sleep(ms / 1_000)
        raise ValueError("once and for all")


@task
def snoozing(ms: int) -> int:
    """Comes back once, and gives its attempt back; after a lost execution it may come back without having slept."""
    with noted() as run:
        time.sleep(ms / 1_000)
        if run.lease_no == 1:
            raise Snooze(0.05)
    return run.lease_no


@task(atomic=True, retry=FixedDelays([0.05] * 9))
def paying(ms: int) -> int:
    """Writes a row, in the transaction in which it completes. A store that breaks in the middle fails it."""
    with noted() as run:
        Effect.objects.using(os.environ["JOBQUEUE_TEST_ALIAS"]).create(job_id=run.job_id, lease_no=run.lease_no)
        time.sleep(ms / 1_000)
    return run.lease_no
