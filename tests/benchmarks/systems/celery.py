"""celery on Redis: two processes of the solo pool, no result backend.

Of eleven configurations this was its fastest: a prefork child is fed by its parent over a pipe, one job at a time. To
prefetch a hundred instead of four made no difference, nor did eight threads in each process.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

WORKER = ("-P", "solo", "-l", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat")


class Celery(System):
    name, stores, packages = "celery", ("redis",), ("celery[redis]", "redis")
    promise = "at most once: acknowledged before it runs"
    setups = (Setup("2 processes, solo pool", 2),)
    tried = (
        Setup("2 processes, solo pool, prefetch 100", 2, ("--prefetch-multiplier", "100")),
        Setup("2 processes of 8 threads", 2, ("-P", "threads", "-c", "8")),
    )
    left = "celery unacked"
    share = 0.25

    def open(self) -> None:
        from celery import Celery

        parts = urlsplit(self.address)
        self.app = Celery("bench", broker=f"redis+socket://{parts.path}?virtual_host={parts.query.removeprefix('db=')}")
        self.app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
        self.enqueue = self.app.task(name="noop")(recording.run).delay

    def work(self, *options: str) -> None:
        self.app.worker_main(["worker", *WORKER, *options])
