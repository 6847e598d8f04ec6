"""dj-queue on PostgreSQL, LISTEN/NOTIFY on: one process of three threads (its default), two, and two of ten.

Those of ten look each 10 ms instead of each 100. One thread in two or four processes was slower.
"""

from __future__ import annotations

import os
from typing import Any

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup
from tests.benchmarks.systems.django import ON_POSTGRES, TasksSystem

AT_ONCE = 1_000


class DjQueue(TasksSystem):
    name, stores, packages = "dj-queue", ("postgres",), ("dj-queue", *ON_POSTGRES)
    promise = "at most once: what a dead worker ran is marked as failed"
    apps = ("dj_queue",)
    backend = "dj_queue.backend.DjQueueBackend"
    setups = (
        Setup("1 process of 3 threads", environment=(("BENCH_PROCESSES", "1"),)),
        Setup("2 processes of 3 threads", environment=(("BENCH_PROCESSES", "2"),)),
        Setup(
            "2 processes of 10 threads, a look each 10 ms",
            environment=(("BENCH_PROCESSES", "2"), ("BENCH_THREADS", "10"), ("BENCH_POLL", "0.01")),
        ),
    )
    tried = (
        Setup("2 processes of 30 threads", environment=(("BENCH_PROCESSES", "2"), ("BENCH_THREADS", "30"))),
        Setup("2 processes of 1 thread", environment=(("BENCH_PROCESSES", "2"), ("BENCH_THREADS", "1"))),
        Setup("4 processes of 1 thread", environment=(("BENCH_PROCESSES", "4"), ("BENCH_THREADS", "1"))),
        Setup("2 processes of 3 threads, 10 ms", environment=(("BENCH_PROCESSES", "2"), ("BENCH_POLL", "0.01"))),
    )
    share = 0.1
    left = "SELECT 1 FROM dj_queue_jobs WHERE finished_at IS NULL LIMIT 1"
    done = "SELECT count(*) FROM dj_queue_jobs WHERE finished_at IS NOT NULL"
    has_many = True

    def options(self) -> dict[str, Any]:
        one = {
            "processes": int(os.environ.get("BENCH_PROCESSES", "1")),
            "threads": int(os.environ.get("BENCH_THREADS", "3")),
            "polling_interval": float(os.environ.get("BENCH_POLL", "0.1")),
        }
        return {"workers": [one]}

    def enqueue_many(self, jobs: int) -> None:
        from tests.benchmarks.tasks import noop

        for begin in range(0, jobs, AT_ONCE):
            noop.get_backend().enqueue_all([(noop, [0], {})] * min(AT_ONCE, jobs - begin))

    def work(self, *options: str) -> None:
        from dj_queue.hooks import on_worker_exit

        if directory := os.environ.get("BENCH_RECORD"):  # its processes end with os._exit, which calls no atexit
            on_worker_exit(lambda _: recording.write(directory))
        self.manage("dj_queue")
