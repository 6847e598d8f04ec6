"""What is measured on Redis: us, the peers and bare redis-py, all on the same server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import trace
from tests.benchmarks.measures import WARM_UP, Figures, Measure, Scale, copied, drained, records, waited
from tests.benchmarks.processes import TIMEOUT, Failed, Running, alive, manage, produce, program, start
from tests.benchmarks.redis_store import RedisServer, is_empty
from tests.benchmarks.stores import Store
from tests.benchmarks.systems import OURS_ON_REDIS, PEERS, Peer, System

RAW = "tests.benchmarks.systems.raw_redis"
MIGRATED = "bench_redis_migrated"
NONE, ALL = OURS_ON_REDIS["none"], OURS_ON_REDIS["all"]
WARM_SECONDS = 1.0


class RedisBench:
    """The server, the databases that take our record, and for each system a queue that was filled once."""

    name = "redis"

    def __init__(self, server: RedisServer, databases: list[Store], names: list[str], scale: Scale) -> None:
        self.server, self.databases, self.scale = server, databases, scale
        self.version, self.durability = server.version, server.durability
        self.peers = [PEERS[name] for name in names if name in PEERS]
        self.has_ours, self.has_raw = "ours" in names, "raw" in names
        self.filled: dict[str, str] = {}

    @property
    def jobs(self) -> int:
        return self.scale.jobs * 2  # twice as many as on a database: it is that much faster

    @property
    def single(self) -> int:
        return self.scale.single * 3

    def drained_by(self, peer: Peer) -> int:
        return max(50, int(self.jobs * peer.share))

    def prepare(self) -> None:
        for peer in self.peers:
            self.filled[peer.name] = self.server.keep()
            produce_peer(peer, self.filled[peer.name], "single", self.drained_by(peer))
        if self.has_ours:
            for database in self.databases:
                manage(NONE, database.create(MIGRATED), "migrate", "-v", "0", redis=self.server.keep()).output()
                database.tidy(MIGRATED)
            self.filled["ours"] = self.server.keep()
            with copied(self.databases[0], MIGRATED) as database:
                produce(NONE, database, "many", self.jobs, redis=self.filled["ours"])

    @contextmanager
    def place(self, store: Store, source: str | None = None) -> Iterator[tuple[str, str]]:
        """A copy of a Redis database, or an empty one, and a database for the record."""
        with self.server.copied(source) as redis, copied(store, MIGRATED) as database:
            yield redis, database

    # -- measurements ------------------------------------------------------------------------------------------------

    def measures(self) -> Iterator[Measure]:
        """What becomes a ratio stands close together."""
        if self.has_ours:
            yield from self._our_drains()
        for peer in self.peers:
            yield Measure(peer.name, f"drain, {peer.configuration}", lambda peer=peer: self.drain_peer(peer))
        for how, what, jobs in (("single", "enqueue", self.single), ("many", "enqueue_many", self.jobs)):
            if self.has_raw:
                yield Measure("raw", what, lambda how=how, jobs=jobs: self.enqueue_raw(how, jobs))
            if self.has_ours:
                yield Measure("ours", what, lambda how=how, jobs=jobs: self.enqueue(how, jobs))
        for peer in self.peers:
            yield Measure(peer.name, "enqueue", lambda peer=peer: self.enqueue_peer(peer))
        if self.has_ours:
            yield Measure("ours", "latency", lambda: self.latency(self.scale.spaced, 0.05))
            yield Measure("ours", "latency, asleep", lambda: self.latency(self.scale.idle, 0.25))
            yield Measure("ours", "waiting job", self.memory)
        for peer in self.peers:
            yield Measure(peer.name, "latency", lambda peer=peer: self.latency_of_peer(peer))

    def _our_drains(self) -> Iterator[Measure]:
        for system, stores in ((NONE, self.databases[:1]), (ALL, self.databases)):
            for store in stores:
                for workers in system.drain_workers:
                    what = f"drain, {title(system, store)}, {workers} worker{'s'[: workers > 1]}"
                    yield Measure("ours", what, self._drain(system, store, workers))

    def _drain(self, system: System, store: Store, workers: int) -> Callable[[], Figures]:
        return lambda: self.drain(system, store, workers)

    def drain(self, system: System, store: Store, workers: int) -> Figures:
        with self.place(store, self.filled["ours"]) as (redis, database), record_directory() as record:
            commands = system.drains(workers)
            crew = [manage(system, database, *one, redis=redis, record=record) for one in commands]
            for running in crew:
                running.output()
            return drained(records(record), self.jobs)

    def drain_peer(self, peer: Peer) -> Figures:
        """From the first start to the last: it has no moment of its own at which all is settled."""
        with self.server.copied(self.filled[peer.name]) as redis, record_directory() as record:
            with alive(start_peer(peer, redis, record=record)):
                wait_until_empty(peer, redis)
            figures = drained(records(record), self.drained_by(peer))
        return figures | {"per_second": figures["starts_per_second"]}

    def enqueue(self, how: str, jobs: int) -> Figures:
        with self.place(self.databases[0]) as (redis, database):
            return rate(produce(NONE, database, how, jobs, "--warm-up", str(WARM_UP), redis=redis))

    def enqueue_peer(self, peer: Peer) -> Figures:
        with self.server.copied() as redis:
            return rate(produce_peer(peer, redis, "single", self.single, "--warm-up", str(WARM_UP)))

    def enqueue_raw(self, how: str, jobs: int) -> Figures:
        with self.server.copied() as redis:
            return rate(program(RAW, redis, how, str(jobs)))

    def latency(self, jobs: int, gap: float) -> Figures:
        with self.place(self.databases[0]) as (redis, database), record_directory() as record:
            with alive([manage(NONE, database, *NONE.serve, redis=redis, record=record)]):
                produce(NONE, database, "spaced", jobs, "--gap", str(gap), redis=redis)
            return waited(records(record), jobs)

    def latency_of_peer(self, peer: Peer) -> Figures:
        with self.server.copied() as redis, record_directory() as record:
            produce_peer(peer, redis, "single", 1)  # its moment is 0, which does not count
            with alive(start_peer(peer, redis, record=record)):
                wait_until_empty(peer, redis)
                time.sleep(WARM_SECONDS)  # the others of its processes start too
                produce_peer(peer, redis, "spaced", self.scale.spaced)
                wait_until_empty(peer, redis)
            return waited(records(record), self.scale.spaced)

    def memory(self) -> Figures:
        """What the server needs more with these jobs than without, for each of them."""
        with self.place(self.databases[0]) as (redis, database):
            before = self.server.used_memory()
            produce(NONE, database, "sized", self.scale.sized, redis=redis)
            self.server.tidy()  # what waited for the disk does not count
            return {"bytes": (self.server.used_memory() - before) / self.scale.sized}

    # -- counted work: it is the same on a busy machine --------------------------------------------------------------

    def counted(self) -> dict[str, dict[str, Figures]]:
        """Messages to Redis per job, each in a run of its own that nobody times."""
        found = {peer.name: dict(self._counted_peer(peer)) for peer in self.peers}
        return ({"ours": dict(self._counted())} if self.has_ours else {}) | found

    def _counted(self) -> Iterator[tuple[str, Figures]]:
        for what, how, jobs in (("enqueue", "single", self.single), ("enqueue_many", "many", self.jobs)):
            with self.place(self.databases[0]) as (redis, database), record_directory() as to:
                produce(NONE, database, how, jobs, redis=redis, trace=to)
                yield what, round_trips(to, jobs)
        for system in (NONE, ALL):
            with self.place(self.databases[0], self.filled["ours"]) as (redis, database), record_directory() as to:
                manage(system, database, *system.drain, redis=redis, trace=to).output()
                yield f"drain, {title(system, self.databases[0])}", round_trips(to, self.jobs)

    def _counted_peer(self, peer: Peer) -> Iterator[tuple[str, Figures]]:
        with self.server.copied() as redis, record_directory() as to:
            produce_peer(peer, redis, "single", self.single, trace=to)
            yield "enqueue", round_trips(to, self.single)
        with self.server.copied(self.filled[peer.name]) as redis, record_directory() as to:
            with alive(start_peer(peer, redis, trace=to)):
                wait_until_empty(peer, redis)
            yield "drain", round_trips(to, self.drained_by(peer))


def title(system: System, store: Store) -> str:
    return "record none" if system is NONE else f"record all in {store.title}"


@contextmanager
def record_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def rate(answer: dict[str, Any]) -> Figures:
    return {"per_second": answer["jobs"] / answer["seconds"]}


def round_trips(directory: Path, jobs: int) -> Figures:
    return {"round_trips": trace.round_trips(directory) / jobs}


# peers


def produce_peer(peer: Peer, redis: str, how: str, jobs: int, *options: str, **where: Any) -> dict[str, Any]:
    return program("tests.benchmarks.produce", peer.program, how, str(jobs), *options, redis=redis, **where)


def start_peer(peer: Peer, redis: str, **where: Any) -> list[Running]:
    return [start(*peer.worker, redis=redis, **where) for _ in range(peer.workers)]


def wait_until_empty(peer: Peer, redis: str) -> None:
    """Until nothing waits or runs, and a moment longer: not every peer says what it runs."""
    deadline = time.monotonic() + TIMEOUT
    while not is_empty(redis, peer.holds):
        if time.monotonic() > deadline:
            raise Failed(f"{peer.name} has not run everything after {TIMEOUT:.0f} s")
        time.sleep(0.05)
    time.sleep(0.2)
