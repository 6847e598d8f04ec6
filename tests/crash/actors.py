"""Processes of the crash tests that are no workers: `python -m tests.crash.actors produce|... ALIAS ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import django
from django.db import DatabaseError, transaction

django.setup()

from django_jobqueue import failpoints  # noqa: E402
from django_jobqueue.exceptions import STORE_ERRORS  # noqa: E402
from django_jobqueue.jobs.payload import JobPayload  # noqa: E402
from django_jobqueue.lifecycle import dead_letters  # noqa: E402
from django_jobqueue.queues import get_queue  # noqa: E402
from tests.crash import tasks  # noqa: E402
from tests.crash.ledger import write_durably  # noqa: E402


def produce(alias: str, ledger: str, count: str) -> None:
    """Push jobs one by one; what was acknowledged is on disk before the next."""
    for n in range(int(count)):
        payload = JobPayload.create(tasks.work, (f"made{n}",))
        write_durably(Path(ledger), f"intent {payload.id}")
        persistently(get_queue(alias).push, payload)
        write_durably(Path(ledger), f"acked {payload.id}")


def produce_in_transactions(alias: str, ledger: str, count: str) -> None:
    def push() -> None:
        with transaction.atomic():
            get_queue(alias).push(payload)

    for n in range(int(count)):
        payload = JobPayload.create(tasks.work, (f"made{n}",))
        write_durably(Path(ledger), f"intent {payload.id}")
        persistently(push)
        write_durably(Path(ledger), f"acked {payload.id}")


def persistently(act: Callable[..., Any], *words: Any) -> None:
    """Once more, with the same ids, when the store did not answer: as everybody should."""
    for is_last in (False, False, True):
        try:
            act(*words)
            return
        except STORE_ERRORS:
            if is_last:
                raise


def revive(alias: str, *ids: str) -> None:
    dead_letters.retry(get_queue(alias), [UUID(one) for one in ids])


def request_cancel(alias: str, job_id: str) -> None:
    get_queue(alias).request_cancel(UUID(job_id))


def declare_dead(alias: str, worker: str) -> None:
    get_queue(alias).declare_dead(UUID(worker))


def age(alias: str) -> None:
    get_queue(alias).age("default", 0, 100)


def saying(hit: Callable[[str], None]) -> Callable[[str], None]:
    """`failpoints.hit` that says what it raises, whoever catches that."""

    def wrapped(point: str) -> None:
        try:
            hit(point)
        except DatabaseError as error:
            print(error, file=sys.stderr)
            raise

    return wrapped


ACTS = (produce, produce_in_transactions, revive, declare_dead, request_cancel, age)

PRODUCERS = (produce, produce_in_transactions)

if __name__ == "__main__":
    failpoints.hit = saying(failpoints.hit)
    act = {one.__name__: one for one in ACTS}[sys.argv[1]]
    if act in PRODUCERS:
        act(*sys.argv[2:])
    else:
        persistently(act, *sys.argv[2:])
