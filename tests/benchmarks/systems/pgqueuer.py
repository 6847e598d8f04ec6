"""pgqueuer on PostgreSQL: two workers that take a hundred or three hundred jobs at a time, on uvloop as its command is.

Its default is ten, a quarter as fast. On psycopg, which was as fast as asyncpg. Bulk enqueue by the thousand.
"""

from __future__ import annotations

import asyncio
import signal

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

AT_ONCE = 1_000


class PgQueuer(System):
    name, stores, packages = "pgqueuer", ("postgres",), ("pgqueuer", "psycopg[binary]")
    promise = "at least once: what a dead worker had is taken again after 30 s; a log of what was done, no arguments"
    setups = (Setup("2 workers, 100 at a time", 2, ("100",)), Setup("2 workers, 300 at a time", 2, ("300",)))
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

    def work(self, at_once: str) -> None:
        import uvloop

        uvloop.run(self.run(int(at_once)))

    async def run(self, at_once: int) -> None:
        import psycopg
        from pgqueuer import PgQueuer

        connection = await psycopg.AsyncConnection.connect(self.address, autocommit=True)
        worker = PgQueuer.from_psycopg_connection(connection)

        @worker.entrypoint("noop")
        async def noop(job: object) -> None:
            recording.run(int(job.payload))

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.shutdown.set)
        await worker.run(batch_size=at_once)
