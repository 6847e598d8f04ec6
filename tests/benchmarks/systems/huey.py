"""huey: two consumers of four threads and of two on Redis, one consumer of one thread on SQLite, where more only wait.

One thread, eight and processes were slower on Redis, two threads and two consumers on SQLite. It can sync every commit
of its file (FULL, as it comes) or none (OFF); ours is between them (NORMAL), so both are measured.
"""

from __future__ import annotations

import os

from tests.benchmarks import recording
from tests.benchmarks.systems.base import Setup, System

LEFT = {"redis": "huey.redis.bench", "sqlite": "SELECT 1 FROM task LIMIT 1"}
SETUPS = {
    "redis": (Setup("2 consumers of 4 threads", 2, ("4",)), Setup("2 consumers of 2 threads", 2, ("2",))),
    "sqlite": (
        Setup("1 consumer, every commit synced", 1, ("1",)),
        Setup("1 consumer, none synced", 1, ("1",), environment=(("BENCH_FSYNC", "off"),)),
    ),
}
TRIED = {
    "redis": (
        Setup("2 consumers of 1 thread", 2, ("1",)),
        Setup("2 consumers of 8 threads", 2, ("8",)),
        Setup("1 consumer of 2 processes", 1, ("2", "process")),
    ),
    "sqlite": (
        Setup("1 consumer of 2 threads, none synced", 1, ("2",), environment=(("BENCH_FSYNC", "off"),)),
        Setup("2 consumers, none synced", 2, ("1",), environment=(("BENCH_FSYNC", "off"),)),
    ),
}


class Huey(System):
    name, stores, packages = "huey", ("redis", "sqlite"), ("huey", "redis")
    promise = "at most once: removed before it runs"

    def __init__(self, store: str, *where: str) -> None:
        super().__init__(store, *where)
        self.setups, self.tried, self.left = SETUPS[store], TRIED[store], LEFT[store]

    def open(self) -> None:
        from huey import RedisHuey, SqliteHuey

        if self.store == "redis":
            self.huey = RedisHuey("bench", url=self.address)
        else:
            fsync = False if os.environ.get("BENCH_FSYNC") == "off" else None
            self.huey = SqliteHuey("bench", filename=self.address, fsync=fsync)
        self.enqueue = self.huey.task(name="noop")(recording.run)

    def prepare(self) -> None:
        self.open()  # which makes the tables

    def work(self, workers: str, kind: str = "thread") -> None:
        self.huey.create_consumer(workers=int(workers), worker_type=kind, periodic=False).run()
