"""What is measured, the same for every system and store. Each measurement has a fresh store and gives a few figures."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks import clocks, memory
from tests.benchmarks.crowds import BY_API, CROWDS, LONG
from tests.benchmarks.processes import TIMEOUT, Failed, Place, Running, alive
from tests.benchmarks.stores import Database, Store
from tests.benchmarks.stores_redis import RedisServer
from tests.benchmarks.systems import DJANGO, System, on
from tests.benchmarks.systems.base import Setup

Figures = dict[str, float]
WARM_UP = 50
WARM_SECONDS = 1.0
LOOK_SECONDS = 0.1
"""Between two looks whether everything is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of each."""

    rounds: int = 5
    jobs: int = 20_000
    single: int = 2_000
    spaced: int = 200
    idle: int = 40
    past: int = 500_000
    delayed: int = 100_000
    blocked: int = 50_000
    waiting: int = 200_000
    sized: int = 100_000
    pinned: int = 20
    """Seconds beside a transaction that nobody ends."""
    what: tuple[str, ...] = ("",)
    """How the names of what is measured begin."""
    counts: bool = True
    """WAL and round trips, too."""
    tried: bool = False
    """Setups of peers that were no better, too."""

    def drained_by(self, system: System) -> int:
        return max(50, int(self.jobs * system.share))


@dataclass(frozen=True, slots=True)
class Measure:
    system: str
    what: str
    run: Callable[[], Figures]


class Bench:
    """Everything that is measured on one store. `stores` are all there are: some systems need a second one."""

    def __init__(self, store: Store, stores: dict[str, Store], systems: list[System], scale: Scale) -> None:
        self.store, self.stores, self.systems, self.scale = store, stores, systems, scale
        self.name, self.version, self.durability = store.name, store.version, store.durability

    # -- the stores that every measurement starts from ---------------------------------------------------------------

    def empty(self, system: System) -> str:
        return f"bench_{safe(system)}_empty"

    def filled(self, system: System) -> str:
        return f"bench_{system.filled_by or safe(system)}_filled"

    def crowded(self, system: System, kind: str) -> str:
        return f"bench_{safe(system)}_{kind}"

    def prepare(self) -> None:
        """Make and fill the stores that are copied later."""
        fillers = {one.filled_by for one in self.systems} - {"", *(one.name for one in self.systems)}
        for system in [*self.systems, *on(self.name, fillers)]:
            address = self.store.create(self.empty(system))
            for companion in {setup.companion for setup in system.setups}:
                self._prepare(system, address, companion)
            self.store.tidy(self.empty(system))
            if not system.filled_by:
                self._fill(system)
            if is_ours(system) and system in self.systems:
                self._crowd(system)

    def _prepare(self, system: System, address: str, companion: str) -> None:
        if not companion:
            Place(system, address).prepare()
            return
        store, name = self.stores[companion], self._beside(system)
        Place(system, address, store.create(name)).prepare()
        store.tidy(name)

    def _fill(self, system: System) -> None:
        address = self.store.copy(self.empty(system), self.filled(system))
        with self._companion(system, system.setups[0]) as database:
            how = "many" if system.has_many else "single"
            Place(system, address, database).produce(how, self.scale.drained_by(system))
        self.store.tidy(self.filled(system))

    def _crowd(self, system: System) -> None:
        """The same jobs where much else is: those of the past, of tomorrow, blocked ones, a long line behind them."""
        for kind in [one for one in (*CROWDS, LONG) if self._is_wanted(one)]:
            name, count = self.crowded(system, kind), getattr(self.scale, kind)
            address = self.store.copy(self.filled(system), name)
            if isinstance(self.store, Database) and kind in CROWDS:
                self.store.crowd(name, kind, count)
            else:
                with self._companion(system, system.setups[0]) as database:
                    Place(system, address, database).produce(BY_API[kind], count)
            self.store.tidy(name)

    def _is_wanted(self, kind: str) -> bool:
        """To fill a store for what is not measured may take minutes."""
        titles = [f"drain, {CROWDS[kind]}"] if kind in CROWDS else ["drain, long line", "claim, long line"]
        is_here = isinstance(self.store, Database) or kind in BY_API
        return is_here and any(title.startswith(self.scale.what) for title in titles)

    def _beside(self, system: System) -> str:
        return f"bench_{safe(system)}_beside_{self.store.name}"

    @contextmanager
    def _companion(self, system: System, setup: Setup) -> Iterator[str]:
        with ExitStack() as stack:
            yield stack.enter_context(self._copy_beside(system, setup)) if setup.companion else ""

    def _copy_beside(self, system: System, setup: Setup) -> Any:
        return self.stores[setup.companion].copied(self._beside(system))

    @contextmanager
    def place(self, system: System, source: str, setup: Setup | None = None) -> Iterator[Place]:
        """A system on a copy of its store."""
        companion = self._companion(system, setup or system.serves)
        with self.store.copied(source) as address, companion as database:
            yield Place(system, address, database)

    # -- measurements ------------------------------------------------------------------------------------------------

    def measures(self) -> list[Measure]:
        """What is repeated in every round. What becomes a ratio stands close together."""
        return [one for one in self._measures() if one.what.startswith(self.scale.what)]

    def _measures(self) -> Iterator[Measure]:
        for system in self.systems:
            yield from self._drains(system)
        for how, what in (("single", "enqueue"), ("many", "enqueue_many")):
            for system in self.systems:
                if how == "single" or system.has_many:
                    yield self._measure(system, what, self.enqueue, how)
        for system in self.systems:
            if not is_raw(system):
                yield self._measure(system, "latency", self.latency, self.scale.spaced)
            if is_ours(system):
                yield self._measure(system, "latency, asleep", self.latency, self.scale.idle, "spaced", 0.25)
                yield self._measure(system, "latency, half load", self.latency, self.scale.single, "half")
                yield self._measure(system, "memory of a child", self.child)
            if is_ours(system) and isinstance(self.store, RedisServer):
                yield self._measure(system, "waiting job", self.waiting_job)

    def _drains(self, system: System) -> Iterator[Measure]:
        for setup in (*system.setups, *(system.tried if self.scale.tried else ())):
            yield self._measure(system, f"drain, {setup.title}", self.drain, setup, self.filled(system))
        if is_ours(system):
            one = system.setups[0]
            for kind, words in CROWDS.items():
                if isinstance(self.store, Database) or kind in BY_API:
                    yield self._measure(system, f"drain, {words}", self.drain, one, self.crowded(system, kind))
            first = replace(one, options=("--processes", "0", "--max-jobs", str(self.scale.drained_by(system))))
            yield self._measure(system, "drain, long line", self.drain, first, self.crowded(system, LONG))

    def _measure(self, system: System, what: str, function: Callable[..., Figures], *arguments: Any) -> Measure:
        return Measure(system.name, what, lambda: function(system, *arguments))

    def drain(self, system: System, setup: Setup, source: str) -> Figures:
        jobs = self.scale.drained_by(system)
        with self.place(system, source, setup) as place, directory() as record:
            before = self.recorded(place)
            spent, pages = self.servers(), self.store.pages(place.address)
            self.run_all(place, place.workers(setup, record=record))
            figures = drained(records(record), jobs)
            if is_ours(system):
                figures |= {"server_us": (self.servers() - spent) / jobs * 1e6}
                figures |= {"pages": (self.store.pages(place.address) - pages) / jobs}
            if system.done and (found := self.recorded(place) - before) != jobs:
                raise Failed(f"{system}: {found} jobs are recorded as done, not {jobs}")
        if system.ends_by_itself:
            return figures
        return figures | {"per_second": figures["starts_per_second"]}

    def servers(self) -> float:
        """Seconds of all servers that are there: the record of jobs on Redis may be on another one."""
        return sum(clocks.of_family(store.pid) for store in self.stores.values() if store.pid)

    def run_all(self, place: Place, crew: list[Running]) -> None:
        if place.system.ends_by_itself:
            for running in crew:
                running.output()
        else:
            with alive(crew):
                self.wait(place, crew)

    def recorded(self, place: Place) -> int:
        """How many jobs the system has written down as done, if it does that here."""
        return self.store.rows(place.address, place.system.done)[0][0] if place.system.done else 0

    def wait(self, place: Place, crew: list[Running]) -> None:
        """Until nothing waits or runs, and a moment longer: not every system says what it runs."""
        deadline = time.monotonic() + TIMEOUT
        with self.store.asking(place.address) as ask:
            while ask(place.system.left):
                if ended := [one for one in crew if one.process.poll() is not None]:
                    raise Failed(f"{place.system}: a worker ended: {ended[0].output()}")
                if time.monotonic() > deadline:
                    raise Failed(f"{place.system} has not run everything after {TIMEOUT:.0f} s")
                time.sleep(LOOK_SECONDS)
        time.sleep(2 * LOOK_SECONDS)

    def enqueue(self, system: System, how: str) -> Figures:
        jobs = self.scale.single if how == "single" else self.scale.jobs
        with self.place(system, self.empty(system)) as place:
            answer = place.produce(how, jobs, "--warm-up", str(WARM_UP))
        return {"per_second": answer["jobs"] / answer["seconds"]}

    def latency(self, system: System, jobs: int, how: str = "spaced", gap: float = 0.05) -> Figures:
        """Of a worker that is known to be there and idle; and what it needs in memory then."""
        with self.place(system, self.empty(system)) as place, directory() as record:
            place.produce("single", 1)  # its moment is 0, which does not count
            workers = place.workers(system.serves, record=record)
            with alive(workers):
                self.wait(place, workers)
                time.sleep(WARM_SECONDS)  # the others of its processes start too
                place.produce(how, jobs, "--gap", str(gap))
                self.wait(place, workers)
                held = memory.of_all(worker.process.pid for worker in workers)
            return waited(records(record), jobs) | held

    def child(self, system: System) -> Figures:
        """A child of ours after a few hundred jobs, and how much of it is more than a process of Django needs."""
        setup = Setup("", 1, ("--processes", "1"), system.serves.companion, system.serves.environment)
        with self.place(system, self.empty(system)) as place:
            bare = json.loads(Place(DJANGO(system.store), place.address, place.database).start("baseline").output())
            place.produce("many", self.scale.single)
            parents = place.workers(setup)
            with alive(parents):
                self.wait(place, parents)
                _, *children = memory.family(parents[0].process.pid)
                held = max(memory.resident(one) for one in children)  # the other one only tells that they live
        return {"more_mb": (held - bare["kib"]) / 1_024, "child_mb": held / 1_024, "django_mb": bare["kib"] / 1_024}

    def waiting_job(self, system: System) -> Figures:
        """What the server needs more with these jobs than without, for each of them."""
        with self.place(system, self.empty(system)) as place:
            before = self.store.used_memory()
            place.produce("sized", self.scale.sized)
            self.store.tidy("")  # what waited for the disk does not count
            return {"bytes": (self.store.used_memory() - before) / self.scale.sized}


def safe(system: System) -> str:
    return system.name.replace("-", "_")


def is_ours(system: System) -> bool:
    return system.name == "ours"


def is_raw(system: System) -> bool:
    return system.name == "raw"


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def records(place: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in place.glob("*.json")]


def drained(found: list[dict[str, Any]], jobs: int) -> Figures:
    """From the first start to the end of the last process, which has settled everything then; start-up is left out.

    With several workers the clock starts when the last of them has started its first job, and only jobs from then on
    count: all of them were at work.
    """
    starts = sorted(moment for one in found for moment in one["started"])
    if len(starts) != jobs:
        raise Failed(f"{len(starts)} jobs ran, not {jobs}")
    begun = max(one["started"][0] for one in found if one["started"])
    counted = sum(moment >= begun for moment in starts)
    ended = max(one["ended"] for one in found if one["started"])
    return {
        "per_second": counted / (ended - begun) * 1e9,
        "starts_per_second": (counted - 1) / max(1, starts[-1] - begun) * 1e9,
        "cpu_us": sum(one["cpu_s"] for one in found if one["started"]) / jobs * 1e6,
        "written": sum(one["written"] for one in found if one["started"]) / jobs,
    }


def waited(found: list[dict[str, Any]], jobs: int) -> Figures:
    """From the call of enqueue to the first line of the job."""
    pairs = [pair for one in found for pair in zip(one["started"], one["sent"], strict=True)]
    waits = sorted((start - sent) / 1e6 for start, sent in pairs if sent)
    if len(waits) != jobs:
        raise Failed(f"{len(waits)} jobs ran, not {jobs}")
    return {f"p{share}": waits[min(jobs - 1, jobs * share // 100)] for share in (50, 95, 99)}
