"""What a claim costs in a short line, in this process and on its server. For tests/benchmarks/long_line.py.

Claims only: nothing is settled in between, so that what is measured is the way to the first jobs. Counted are the pages
that PostgreSQL touched, and the steps of SQLite's machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from django_jobqueue.queues.base import Queue, WorkerIdentity
from tests.benchmarks import clocks
from tests.plans.explaining import explained

CLAIMS, AT_ONCE = 60, 10
COUNTED = 5
STEP = 10
"""SQLite says when so many instructions were done."""
Count = Callable[[], float]


def measure(queue: Queue, server: int) -> dict[str, float]:
    """Of a claim of `AT_ONCE` jobs: `us` of processor time, and `work` that was counted (0: it can't be)."""
    me = WorkerIdentity()
    queue.join(me)
    server = backend(queue) or server

    def claim() -> None:
        assert len(queue.exchange((), ("default",), AT_ONCE, me.id).reservations) == AT_ONCE

    claim()  # statements are known, pages are in memory
    begun = spent(server)
    for _ in range(CLAIMS):
        claim()
    seconds = spent(server) - begun
    with counting(queue) as count:
        for _ in range(COUNTED):
            claim()
    return {"us": seconds / CLAIMS * 1e6, "work": count() / COUNTED}


def backend(queue: Queue) -> int:
    """The process of PostgreSQL that works for us: autovacuum may come by for the jobs that were just pushed."""
    connection = connections[queue.database]
    is_postgres = is_of_tables(queue) and connection.vendor == "postgresql"
    return int(connection.connection.info.backend_pid) if is_postgres else 0


def is_of_tables(queue: Queue) -> bool:
    return type(queue).__name__ == "OrmQueue"


def spent(server: int) -> float:
    return time.process_time() + (clocks.on_cores(server) if server else 0.0)


@contextmanager
def counting(queue: Queue) -> Iterator[Count]:
    connection = connections[queue.database]
    if not is_of_tables(queue) or connection.vendor not in ("postgresql", "sqlite"):
        yield lambda: 0.0
    elif connection.vendor == "postgresql":
        with explained(queue.database, "counted") as plans:
            yield lambda: float(sum(plan.pages for plan in plans))
    else:
        with steps(connection.connection) as count:
            yield count


@contextmanager
def steps(driver: Any) -> Iterator[Count]:
    found = 0

    def one() -> int:
        nonlocal found
        found += STEP
        return 0  # anything else ends the statement

    driver.set_progress_handler(one, STEP)
    try:
        yield lambda: float(found)
    finally:
        driver.set_progress_handler(None, 0)
