"""What one exchange costs, by how many jobs it settles and claims. In a process without a worker, on a filled store.

For tests/benchmarks/simulation: the server's and the client's processor time, bytes of log, and how much longer a claim
takes beside rows that other claims have locked (SKIP LOCKED passes them one by one).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from django_jobqueue.lifecycle.outcomes import Timing, completed
from django_jobqueue.queues.base import Queue, Reservation, WorkerIdentity, WorkerReport
from tests.benchmarks import clocks

SIZES = {1: 300, 10: 150, 100: 30, 500: 12}
"""Jobs of an exchange, and how many exchanges of that size. 21,000 jobs are enough for everything here."""
SETTLED = {1: 200, 10: 100, 100: 20, 500: 6}
"""The same for settling alone."""
LOCKED = 2_000
BESIDE_LOCKED, BESIDE_LOCKED_JOBS = 60, 10
TRIP_JOBS = 10
LOOKS = 300
"""At an empty line."""
Figures = dict[str, float]


class Exchanges:
    """`server`: the pid of the server, 0 when there is none."""

    def __init__(self, queue: Queue, server: int) -> None:
        self.queue, self.server = queue, server
        self.me = WorkerIdentity()
        queue.join(self.me)

    def measure(self) -> dict[str, Any]:
        found = {"exchange": {size: self.exchanges(size, times) for size, times in SIZES.items()}}
        found["settle"] = {size: self.settlements(size, times) for size, times in SETTLED.items()}
        found["passing_us"] = self.passing()
        found["trips"] = {"exchange": self.trips(TRIP_JOBS), "settle": self.trips(0)}
        found["look"] = self.looks()
        self.queue.leave(self.me.id)
        return found

    def exchanges(self, size: int, times: int) -> Figures:
        """Each settles as many as it claims."""
        held = self.claim(size)

        def work() -> None:
            nonlocal held
            for _ in range(times):
                settlements = [completed(job, "", Timing()) for job in held]
                held = self.queue.exchange(settlements, ("default",), size, self.me.id).reservations
                assert len(held) == size, f"{len(held)} jobs were left for a claim of {size}"

        figures = self.costs(work, times)
        self.settle(held)
        return figures

    def settlements(self, size: int, times: int) -> Figures:
        batches = [self.claim(size) for _ in range(times)]
        return self.costs(lambda: [self.settle(batch) for batch in batches], times)

    def passing(self) -> float:
        """Microseconds of the server for each locked row that a claim passes."""
        if connections[self.queue.database].vendor not in ("postgresql", "mysql") or not self.is_a_table():
            return 0.0
        free = self.exchanges(BESIDE_LOCKED_JOBS, BESIDE_LOCKED)["server_us"]
        with locked(self.queue.database):
            beside = self.exchanges(BESIDE_LOCKED_JOBS, BESIDE_LOCKED)["server_us"]
        return max(0.0, beside - free) / LOCKED

    def trips(self, claimed: int) -> int:
        """Round trips of an exchange that settles some jobs, and claims so many."""
        held = self.claim(TRIP_JOBS)
        settlements = [completed(job, "", Timing()) for job in held]
        connection = connections[self.queue.database]
        if not self.is_a_table():  # a script
            return 1
        counting = {"postgresql": trips_of_postgres, "mysql": trips_of_mariadb}.get(connection.vendor, no_trips)
        with counting(connection) as count:
            held = list(self.queue.exchange(settlements, ("default",), claimed, self.me.id).reservations)
        self.settle(held)
        return count()

    def is_a_table(self) -> bool:
        return type(self.queue).__name__ == "OrmQueue"

    def looks(self) -> Figures:
        """At an empty line, which an idle worker does; and a heartbeat."""
        while rest := self.claim(500):
            self.settle(rest)
        look = self.costs(lambda: [self.claim(500) for _ in range(LOOKS)], LOOKS)
        told = self.told() or look["server_us"]
        beat = self.costs(lambda: [self.queue.heartbeat(self.me.id, WorkerReport()) for _ in range(LOOKS)], LOOKS)
        found = {"look_us": look["server_us"], "look_client_us": look["client_us"], "told_us": told}
        return found | {"beat_us": beat["server_us"]}

    def told(self) -> float:
        """On PostgreSQL a worker of one queue that has heard of a push claims without a look: 499 of 500 in vain."""
        if connections[self.queue.database].vendor != "postgresql" or not self.is_a_table():
            return 0.0
        queue: Any = self.queue

        def claim() -> None:
            queue._move(lambda dialect: queue._claim(dialect, ("default",), 1, self.me.id, False))

        return self.costs(lambda: [claim() for _ in range(LOOKS)], LOOKS)["server_us"]

    def claim(self, size: int) -> list[Reservation]:
        return list(self.queue.exchange((), ("default",), size, self.me.id).reservations)

    def settle(self, held: list[Reservation]) -> None:
        self.queue.exchange([completed(job, "", Timing()) for job in held], (), 0, self.me.id)

    def costs(self, work: Callable[[], object], times: int) -> Figures:
        """Of one of so many: microseconds, and bytes of the database's log."""
        logged, server = self.log_bytes(), self.server_seconds()
        wall, client = time.perf_counter(), time.process_time()
        work()
        client, wall = time.process_time() - client, time.perf_counter() - wall
        server, logged = self.server_seconds() - server, self.log_bytes() - logged
        spent = {"server_us": server * 1e6, "client_us": client * 1e6, "wall_us": wall * 1e6, "log_bytes": logged}
        return {name: value / times for name, value in spent.items()}

    def server_seconds(self) -> float:
        return clocks.on_cores(self.server) if self.server else 0.0

    def log_bytes(self) -> float:
        asked = {
            "postgresql": "SELECT pg_current_wal_insert_lsn() - '0/0'",
            "mysql": "SELECT variable_value FROM information_schema.global_status WHERE variable_name = "
            "'innodb_os_log_written'",
        }
        connection = connections[self.queue.database]
        if connection.vendor not in asked or not self.is_a_table():
            return 0.0
        with connection.cursor() as cursor:
            cursor.execute(asked[connection.vendor])
            return float(cursor.fetchone()[0])


@contextmanager
def locked(alias: str) -> Iterator[None]:
    """The first rows of the line are another transaction's."""
    other = connections[alias].copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT job_id FROM jobqueue_job_priorities WHERE queue = 'default' "
                "ORDER BY priority DESC, seq LIMIT %s FOR UPDATE",
                [LOCKED],
            )
            assert len(cursor.fetchall()) == LOCKED
        yield
    finally:
        other.rollback()
        other.close()


@contextmanager
def trips_of_postgres(connection: Any) -> Iterator[Callable[[], int]]:
    """libpq writes down every message; ReadyForQuery comes once per round trip."""
    with tempfile.TemporaryFile("w+") as file:
        connection.connection.pgconn.trace(file.fileno())
        found: list[int] = []
        yield lambda: found[0]
        connection.connection.pgconn.untrace()
        file.seek(0)
        found.append(file.read().count("\tReadyForQuery\t"))


@contextmanager
def trips_of_mariadb(connection: Any) -> Iterator[Callable[[], int]]:
    def asked() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
            return int(cursor.fetchone()[1])

    before, found = asked(), []
    yield lambda: found[0]
    found.append(asked() - before - 1)


@contextmanager
def no_trips(connection: Any) -> Iterator[Callable[[], int]]:
    yield lambda: 0
