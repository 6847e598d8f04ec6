"""procrastinate on PostgreSQL: two workers, ten async jobs at a time in each; async so that its pool can overlap them.

The fastest of twelve: thirty at a time, a pool of 10 or 20 connections and a third worker were no faster. It claims and
finishes each job in a statement of its own, with an event row by trigger.
"""

from __future__ import annotations

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

AT_ONCE = 1_000


class Procrastinate(System):
    name, stores, packages = "procrastinate", ("postgres",), ("procrastinate", "psycopg[binary]")
    promise = "once, or again when the application itself asks for stalled jobs"
    setups = (Setup("2 workers, 10 async jobs at a time", 2),)
    tried = (
        Setup("2 workers, 10 at a time on 10 connections", 2, ("10", "10")),
        Setup("2 workers, 30 at a time", 2, ("30",)),
        Setup("2 workers, 30 at a time on 20 connections", 2, ("30", "20")),
        Setup("3 workers, 10 at a time", 3),
    )
    serving = Setup("1 worker")
    share = 0.1
    left = "SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1"
    done = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
    has_many = True

    def open(self) -> None:
        """To work; who enqueues has a connector without a loop."""
        import procrastinate

        self.app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.address))
        self.task = self.app.task(name="noop")(run)

    def open_to_enqueue(self) -> None:
        import procrastinate

        self.app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=self.address))
        self.task = self.app.task(name="noop")(run)
        self.app.open()

    def prepare(self) -> None:
        self.open_to_enqueue()
        self.app.schema_manager.apply_schema()
        self.close()

    def enqueue(self, sent_ns: int) -> None:
        self.task.defer(sent_ns=sent_ns)

    def enqueue_many(self, jobs: int) -> None:
        for begin in range(0, jobs, AT_ONCE):
            self.task.batch_defer(*[{"sent_ns": 0}] * min(AT_ONCE, jobs - begin))

    def close(self) -> None:
        self.app.close()

    def work(self, at_once: str = "10", connections: str = "4") -> None:
        import procrastinate

        pool = procrastinate.PsycopgConnector(conninfo=self.address, min_size=4, max_size=int(connections))
        self.app.with_connector(pool).run_worker(concurrency=int(at_once))


async def run(sent_ns: int) -> None:
    recording.run(sent_ns)
