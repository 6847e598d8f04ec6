"""chancy on PostgreSQL: two workers with its asyncio executor, a hundred jobs at a time, eager polling.

The fastest of six: its default executor sends each job to a pool of processes. It writes what became of jobs once a
second; the clock ends with the start of the last one all the same.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

AT_ONCE = 1_000


class Chancy(System):
    name, stores, packages = "chancy", ("postgres",), ("chancy", "psycopg[binary]")
    promise = "at least once: what a dead worker had comes back after a minute"
    setups = (
        Setup("2 workers, 100 async jobs at a time", 2),
        Setup("2 workers, 1000 async jobs at a time", 2, ("1000",)),
    )
    tried = (
        Setup("2 workers, 300 async jobs at a time", 2, ("300",)),
        Setup("2 workers, 30 async jobs at a time", 2, ("30",)),
        Setup("3 workers, 100 async jobs at a time", 3),
    )
    serving = Setup("1 worker")
    left = "SELECT 1 FROM chancy_jobs WHERE state IN ('pending', 'running', 'retrying') LIMIT 1"
    done = "SELECT count(*) FROM chancy_jobs WHERE state = 'succeeded'"
    has_many = True

    def open(self) -> None:
        from chancy import Chancy, job

        logging.getLogger("chancy").setLevel(logging.WARNING)
        self.chancy = Chancy(self.address, log=logging.getLogger("chancy"))
        self.job = job()(run).job

    def prepare(self) -> None:
        self.open()
        asyncio.run(self.make_tables())

    async def make_tables(self) -> None:
        async with self.chancy as chancy:
            await chancy.migrate()
            await declare(chancy, 100)

    def enqueue(self, sent_ns: int) -> None:
        self.chancy.sync_push(self.job.with_kwargs(sent_ns=sent_ns))

    def enqueue_many(self, jobs: int) -> None:
        for _ in self.chancy.sync_push_many([self.job.with_kwargs(sent_ns=0)] * jobs, batch_size=AT_ONCE):
            pass

    def close(self) -> None:
        self.chancy.sync_pool.close()

    def work(self, at_once: str = "100") -> None:
        asyncio.run(self.run(int(at_once)))

    async def run(self, at_once: int) -> None:
        from chancy import Worker

        async with self.chancy as chancy:
            await declare(chancy, at_once)
            async with Worker(chancy) as worker:
                await worker.wait_for_shutdown()


async def declare(chancy: Any, at_once: int) -> None:
    from chancy import Queue

    how = {"concurrency": at_once, "executor": chancy.Executor.Async, "eager_polling": True}
    await chancy.declare(Queue("default", **how), upsert=True)


async def run(sent_ns: int) -> None:
    recording.run(sent_ns)
