"""Hosts full of worker processes before one store, and what of all that is busy how much.

A process does what `workers/` does: it settles a batch and claims the next in one exchange, ahead while it runs the
last one where that is worth it (the worker's own `Pace` decides how many and when), and stores what a slow batch has
come to every `FLUSH_SECONDS`. The line is never empty. What is left out: failures, other tables, autovacuum,
checkpoints, caches that get cold, and locks inside of the server.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from django_jobqueue.conf import Conf
from django_jobqueue.workers.pace import Pace
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.events import SLICE, Disk, Loop, Places, Process, Then

SQLITE_DELAYS = (1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100)
"""Milliseconds that SQLite sleeps before it asks again for a lock that is taken; then 100 each time."""
ANSWER_MEANWHILE = ("postgres", "mariadb", "redis")
"""Servers: a worker may fetch ahead."""
ONE_THREAD = ("redis",)
SETTINGS = Conf()
WARM_ROUNDS, STEP = 2, 0.02
"""Of all processes, before the clock counts; seconds between two looks whether that is so."""
FULL = 0.75
"""Of its time. More is not to be had of a lock before which one sleeps, nor of a core that is waited for by turns."""
VARIES = 0.2
"""By how much what a process computes may be shorter or longer: without it all fall into step, and never meet."""
GROWING = 8
"""Batches after which a worker takes as many as it ever will."""
FLUSH_AFTER = SETTINGS.FLUSH_SECONDS * 7 / 8
"""The flusher looks four times in `FLUSH_SECONDS` and acts at the third."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The machines. `host_cores` 0: the hosts are the server itself and share its cores."""

    server_cores: int = 16
    host_cores: int = 16
    round_trip: float = 0.0003
    log_bytes_per_second: float = 400e6
    sync: float | None = None
    """Seconds of a flush of the log; None: as recorded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    per_second: float
    shares: dict[str, float]
    """How much of its time each resource was busy: 1 is all of it."""
    passed: float
    """Of the server's work, how much was passing rows that others had locked."""
    answer: float
    """Seconds that an exchange took, on average: a process in front of a full store waits."""

    @property
    def first(self) -> str:
        """The name of what is the limit; nothing is full when all wait for answers."""
        name, share = max(self.shares.items(), key=lambda one: one[1])
        if name == "server cores" and self.passed > 1 / 3:
            name = "server cores, passing locked rows"
        return name if share >= FULL else f"waiting for answers ({name} {share:.0%})"


class Fleet:
    def __init__(self, costs: Costs, site: Site, hosts: int, processes: int, job: float) -> None:
        self.costs, self.site, self.job = costs, site, job
        self.loop = loop = Loop()
        self.server, self.thread = Places(loop, site.server_cores), Places(loop, 1)
        self.hosts = [Places(loop, site.host_cores) if site.host_cores else self.server for _ in range(hosts)]
        sync = costs.recorded["sync_us"] / 1e6 if site.sync is None else site.sync
        self.disk = Disk(loop, sync, site.log_bytes_per_second)
        self.writer = Places(loop, 1)
        self.workers = [Worker(self, host, random.Random(n)) for host in self.hosts for n in range(processes)]
        self.locked = 0
        """Rows of the line that claims have locked, which have not been committed yet."""
        self.passing = 0.0
        self.done = 0
        self.asked, self.answered = 0, 0.0

    def run(self, rounds: int = 4) -> Outcome:
        """Until each process has come that often for jobs on average, after it has done so twice."""
        for worker in self.workers:
            self.loop.start(worker.live())
        self._until(WARM_ROUNDS)
        begun, measured = self.loop.now, (self.server, self.thread, self.disk.arm, self.writer, *set(self.hosts))
        for one in (*measured, *(worker.gil for worker in self.workers)):
            one.forget()
        self.done, self.passing, self.asked, self.answered = 0, 0.0, 0, 0.0
        for worker in self.workers:
            worker.slept = 0.0
        self._until(WARM_ROUNDS + rounds)
        seconds = self.loop.now - begun
        return Outcome(self.done / seconds, self.shares(seconds), self._passed(), self.answered / max(1, self.asked))

    def _until(self, rounds: int) -> None:
        while sum(one.rounds for one in self.workers) < rounds * len(self.workers):
            self.loop.run(self.loop.now + STEP)

    def _passed(self) -> float:
        return self.passing / self.server.busy_seconds if self.server.busy_seconds else 0.0

    def shares(self, seconds: float) -> dict[str, float]:
        workers, hosts = self.workers, set(self.hosts) - {self.server}
        found = {"processes": sum(one.gil.share() + one.slept / seconds for one in workers) / len(workers)}
        if hosts:
            found["host cores"] = sum(one.share() for one in hosts) / len(hosts)
        if self.costs.name == "sqlite":
            found["the write lock"] = self.writer.share()
        elif self.costs.name in ONE_THREAD:
            found["the server's thread"] = self.thread.share()
        else:
            found["server cores"] = self.server.share()
        if self.disk.flushes:
            found["the log's disk"] = self.disk.arm.share()
        return found

    def store(self, worker: Worker, settled: int, claimed: int) -> Process:
        """One exchange, as its process sees it."""
        begun = self.loop.now
        if self.costs.name == "sqlite":
            yield from self._in_file(worker, settled, claimed)
        else:
            yield from self._on_server(worker, settled, claimed)
        self.done += settled
        self.asked += 1
        self.answered += self.loop.now - begun

    def _in_file(self, worker: Worker, settled: int, claimed: int) -> Process:
        tries = 0
        while not self.writer.try_to_take():
            yield self.loop.pause(SQLITE_DELAYS[min(tries, len(SQLITE_DELAYS) - 1)] / 1_000)
            tries += 1
        yield from worker.compute(self.costs.exchange(settled, claimed).client)
        self.writer.give()

    def _on_server(self, worker: Worker, settled: int, claimed: int) -> Process:
        """Half of the client's work comes before, and half after. Claimed is in the last trip before the commit."""
        cost, trips = self.costs.exchange(settled, claimed), self.costs.trips(claimed)
        yield from worker.compute(cost.client / 2)
        for trip in range(trips):
            yield self.loop.pause(self.site.round_trip)
            seconds = cost.server / trips
            if trip == max(0, trips - 2):
                passing = self.locked * self.costs.passing if claimed else 0.0
                self.passing += passing
                self.locked += claimed
                seconds += passing
            yield from self._serve(seconds)
        if cost.log_bytes:
            yield self.disk.flush(cost.log_bytes)
        self.locked -= claimed
        yield from worker.compute(cost.client / 2)

    def _serve(self, seconds: float) -> Process:
        if self.costs.name not in ONE_THREAD:
            yield from self.server.use(seconds)
            return
        yield self.thread.take()
        yield from self.server.use(seconds)
        self.thread.give()


class Worker:
    """One process: what it computes, it computes under its GIL, on a core of its host."""

    def __init__(self, fleet: Fleet, host: Places, chance: random.Random) -> None:
        self.fleet, self.host, self.chance = fleet, host, chance
        self.loop = fleet.loop
        self.gil, self.settling = Places(self.loop, 1), Places(self.loop, 1)
        self.pace = Pace(SETTINGS.PREFETCH_SECONDS, SETTINGS.PREFETCH_MAX)
        for _ in range(GROWING):
            self.pace.ran(1, fleet.costs.work + fleet.job)
        self.slept = 0.0
        self.rounds = 0
        """How often it had jobs to run."""
        self.decided = 0
        """Jobs that ran and are not settled."""

    def live(self) -> Process:
        yield self.loop.pause(self.chance.uniform(0, max(self.fleet.job, 0.05)))
        ahead: Ahead | None = None
        while True:
            limit = self.pace.limit if ahead is None else ahead.claimed
            if ahead is None:
                yield from self.exchange(limit)
            else:
                yield ahead.wait
            may = self.pace.may_fetch_ahead and self.fleet.costs.name in ANSWER_MEANWHILE
            ahead = Ahead(self, self.pace.limit) if may else None
            begun = self.loop.now
            self.rounds += 1
            yield from self._run(limit)
            self.pace.ran(limit, self.loop.now - begun)

    def exchange(self, claimed: int) -> Process:
        """One at a time: whoever has to wait takes along what was decided meanwhile."""
        yield self.settling.take()
        settled, self.decided = self.decided, 0
        if settled or claimed:
            yield from self.fleet.store(self, settled, claimed)
        self.settling.give()

    def _run(self, jobs: int) -> Process:
        """In portions: the flusher comes by between two of them."""
        work, job = self.fleet.costs.work, self.fleet.job
        portion = max(1, math.ceil(FLUSH_AFTER / (work + job)))
        while jobs:
            now, begun = min(portion, jobs), self.loop.now
            yield from self.compute(now * work)
            if job:
                self.slept += now * job
                yield self.loop.pause(now * job)
            self.decided += now
            jobs -= now
            if jobs and self.loop.now - begun >= FLUSH_AFTER:
                self.loop.start(self.exchange(0))

    def compute(self, seconds: float) -> Process:
        """Python's threads pass the GIL on; the host's cores are for all of its processes."""
        seconds *= self.chance.uniform(1 - VARIES, 1 + VARIES)
        while seconds > 0:
            piece = min(seconds, SLICE)
            yield self.gil.take()
            yield from self.host.use(piece)
            self.gil.give()
            seconds -= piece


class Ahead:
    """A fetch that goes on beside a batch."""

    def __init__(self, worker: Worker, claimed: int) -> None:
        self.claimed = claimed
        self._is_over = False
        self._waiting: Then | None = None
        worker.loop.start(worker.exchange(claimed), self._end)

    def wait(self, then: Then) -> None:
        if self._is_over:
            then()
        else:
            self._waiting = then

    def _end(self) -> None:
        self._is_over = True
        if self._waiting is not None:
            self._waiting()
