"""django_jobqueue: `queue_work` without children, which runs one job at a time, and with two. Settings as they come.

On Redis it is told what of the jobs goes into the tables: nothing but dead letters, or every execution (the default).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.benchmarks.systems.base import Setup
from tests.benchmarks.systems.django import DjangoSystem, TasksSystem

ONE, TWO = ("--drain", "--processes", "0"), ("--drain", "--processes", "2")
PROCESSES = (("1 process", ONE), ("2 processes", TWO))
RECORDS = (("none", "sqlite", "none"), ("all", "sqlite", "all in SQLite"), ("all", "postgres", "all in PostgreSQL"))
ON_DATABASE = tuple(Setup(title, options=options) for title, options in PROCESSES)
ON_REDIS = tuple(
    Setup(f"record {words}, {title}", 1, options, companion, (("BENCH_RECORDS", records),))
    for records, companion, words in RECORDS
    for title, options in PROCESSES
)
PAYLOAD = 200
"""Bytes of a job that is there for its size: the name of its task and its encoded arguments."""


class Ours(TasksSystem):
    name, stores = "ours", ("sqlite", "postgres", "mariadb", "redis")
    promise = "at least once, fenced"
    apps = ("django_jobqueue",)
    ends_by_itself = has_many = True

    def __init__(self, store: str, *where: str) -> None:
        super().__init__(store, *where)
        on_redis = store == "redis"
        self.backend = f"django_jobqueue.backends.{'Redis' if on_redis else 'Database'}Backend"
        self.setups = ON_REDIS if on_redis else ON_DATABASE
        self.left = "{jobqueue}:jobs" if on_redis else "SELECT 1 FROM jobqueue_jobs LIMIT 1"
        self.done = "" if on_redis else "SELECT count(*) FROM jobqueue_job_history WHERE outcome = 'completed'"
        first = self.setups[0]
        self.serving = Setup("1 process", 1, ("--processes", "0"), first.companion, first.environment)

    def options(self) -> dict[str, Any]:
        if self.store != "redis":
            return {}
        return {"connection": "default", "record": os.environ.get("BENCH_RECORDS", "none")}

    def enqueue_many(self, jobs: int) -> None:
        from tests.benchmarks.tasks import noop

        noop.enqueue_many([(0,)] * jobs)

    def enqueue_stamped(self, jobs: int) -> None:
        from tests.benchmarks.tasks import noop

        noop.enqueue_many([(time.time_ns(),)] * jobs)

    def enqueue_pauses(self, jobs: int, seconds: float, is_async: bool) -> None:
        from tests.benchmarks.tasks import pause, pause_async

        (pause_async if is_async else pause).enqueue_many([(seconds,)] * jobs)

    def enqueue_burns(self, jobs: int, seconds: float) -> None:
        from tests.benchmarks.tasks import burn

        burn.enqueue_many([(seconds,)] * jobs)

    def queue(self) -> Any:
        from tests.benchmarks.tasks import noop

        return noop.get_backend().queue

    def enqueue_delayed(self, jobs: int) -> None:
        from tests.benchmarks.tasks import noop

        noop.using(run_after=datetime.now(UTC) + timedelta(days=1)).enqueue_many([(0,)] * jobs)

    def enqueue_sized(self, jobs: int) -> None:
        from django_jobqueue.jobs.codec import encode_call
        from tests.benchmarks.tasks import keep

        padding = "x" * (PAYLOAD - len(keep.module_path) - len(encode_call(("",), {})))
        keep.enqueue_many([(padding,)] * jobs)

    def work(self, *options: str) -> None:
        self.manage("queue_work", *options, "-v", "0")


class JustDjango(DjangoSystem):
    """Not a queue: what a process of Django needs that has asked its database something."""

    name, stores, apps = "django", Ours.stores, ()

    def baseline(self) -> int:
        """KiB in memory."""
        self.open()
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        from tests.benchmarks.memory import resident

        return resident(os.getpid())
