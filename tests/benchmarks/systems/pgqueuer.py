"""pgqueuer on PostgreSQL: two workers on uvloop, as its command is: on psycopg 300 jobs at a time, on asyncpg 1,000.

Its default is ten, a quarter as fast. The fastest of eight. Bulk enqueue by the thousand.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

AT_ONCE = 1_000


class PgQueuer(System):
    name, stores, packages = "pgqueuer", ("postgres",), ("pgqueuer", "psycopg[binary]", "asyncpg")
    promise = "at least once: what a dead worker had is taken again after 30 s; a log of what was done, no arguments"
    setups = (
        Setup("2 workers, 300 at a time", 2, ("300",)),
        Setup("2 workers, 1000 at a time, asyncpg", 2, ("1000", "asyncpg")),
    )
    tried = (
        Setup("2 workers, 100 at a time", 2, ("100",)),
        Setup("2 workers, 500 at a time", 2, ("500",)),
        Setup("2 workers, 1000 at a time", 2, ("1000",)),
        Setup("3 workers, 300 at a time", 3, ("300",)),
        Setup("2 workers, 100 at a time, asyncpg", 2, ("100", "asyncpg")),
        Setup("2 workers, 300 at a time, asyncpg", 2, ("300", "asyncpg")),
    )
    serving = Setup("1 worker, 10 at a time", 1, ("10",))
    left = "SELECT 1 FROM pgqueuer LIMIT 1"
    done = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
    has_many = True

    def prepare(self) -> None:
        asyncio.run(self.install())

    async def install(self) -> None:
        import psycopg
        from pgqueuer.queries import Queries

        async with await psycopg.AsyncConnection.connect(self.address, autocommit=True) as connection:
            await Queries.from_psycopg_connection(connection).install()

    def open(self) -> None:
        pass

    def open_to_enqueue(self) -> None:
        import psycopg
        from pgqueuer.adapters.drivers.psycopg import SyncPsycopgDriver
        from pgqueuer.queries import SyncQueries

        self.connection = psycopg.connect(self.address, autocommit=True)
        self.queries = SyncQueries(SyncPsycopgDriver(self.connection))

    def enqueue(self, sent_ns: int) -> None:
        self.queries.enqueue("noop", str(sent_ns).encode())

    def enqueue_many(self, jobs: int) -> None:
        for begin in range(0, jobs, AT_ONCE):
            count = min(AT_ONCE, jobs - begin)
            self.queries.enqueue(["noop"] * count, [b"0"] * count, [0] * count)

    def work(self, at_once: str, driver: str = "psycopg") -> None:
        import uvloop

        uvloop.run(self.run(int(at_once), driver))

    async def worker(self, driver: str) -> Any:
        import asyncpg
        import psycopg
        from pgqueuer import PgQueuer

        if driver == "asyncpg":
            return PgQueuer.from_asyncpg_connection(await asyncpg.connect(self.address))
        connection = await psycopg.AsyncConnection.connect(self.address, autocommit=True)
        return PgQueuer.from_psycopg_connection(connection)

    async def run(self, at_once: int, driver: str) -> None:
        worker = await self.worker(driver)

        @worker.entrypoint("noop")
        async def noop(job: object) -> None:
            recording.run(int(job.payload))

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.shutdown.set)
        await worker.run(batch_size=at_once)
