"""What is measured. Each measurement has a fresh database and gives a few named figures."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks import trace
from tests.benchmarks.processes import Failed, alive, manage, produce, program
from tests.benchmarks.stores import Postgres, Store
from tests.benchmarks.systems import OURS, SYSTEMS, System

Figures = dict[str, float]
RAW = {"postgres": "tests.benchmarks.systems.raw_postgres", "sqlite": "tests.benchmarks.systems.raw_sqlite"}
WARM_UP = 50
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of each."""

    jobs: int = 10_000
    single: int = 1_000
    spaced: int = 200
    idle: int = 40
    past: int = 500_000

    sized: int = 100_000

    def drained_by(self, system: System) -> int:
        return max(50, int(self.jobs * system.share))


@dataclass(frozen=True, slots=True)
class Measure:
    system: str
    what: str
    run: Callable[[], Figures]


@contextmanager
def copied(store: Store, source: str) -> Iterator[str]:
    name = f"bench_copy_{next(_numbers)}"
    try:
        yield store.copy(source, name)
    finally:
        store.drop(name)


# databases every measurement starts from


def empty(system: System) -> str:
    return f"bench_{system.module}_empty"


def filled(system: System) -> str:
    return f"bench_{system.module}_filled"


PAST = "bench_past"


def prepare(store: Store, names: list[str], scale: Scale) -> None:
    """Make and fill the databases that are copied later. The raw loops use ours."""
    for system in [SYSTEMS[name] for name in names if name in SYSTEMS] + ([OURS] if "ours" not in names else []):
        manage(system, store.create(empty(system)), "migrate", "-v", "0").output()
        store.tidy(empty(system))
        database = store.copy(empty(system), filled(system))
        how = "many" if system is OURS else "single"
        produce(system, database, how, scale.drained_by(system))
        store.tidy(filled(system))
    if "ours" in names:
        store.copy(filled(OURS), PAST)
        store.run(PAST, store.past_jobs(scale.past))
        store.tidy(PAST)


# measurements


def enqueue(store: Store, system: System, how: str, jobs: int) -> Figures:
    with copied(store, empty(system)) as database:
        answer = produce(system, database, how, jobs, "--warm-up", str(WARM_UP))
    return {"per_second": answer["jobs"] / answer["seconds"]}


def drain(store: Store, system: System, workers: int, jobs: int, source: str) -> Figures:
    with copied(store, source) as database, tempfile.TemporaryDirectory() as directory:
        record = Path(directory)
        for running in [manage(system, database, *command, record=record) for command in system.drains(workers)]:
            running.output()
        return drained(records(record), jobs)


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
        "cpu_us": sum(one["cpu_s"] for one in found) / jobs * 1e6,
    }


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in directory.glob("*.json")]


def latency(store: Store, system: System, jobs: int, gap: float) -> Figures:
    with copied(store, empty(system)) as database, tempfile.TemporaryDirectory() as directory:
        record = Path(directory)
        with alive([manage(system, database, *system.serve, record=record)]):
            produce(system, database, "spaced", jobs, "--gap", str(gap))
        return waited(records(record), jobs)


def waited(found: list[dict[str, Any]], jobs: int) -> Figures:
    """From the call of enqueue to the first line of the job."""
    pairs = [pair for one in found for pair in zip(one["started"], one["sent"], strict=True)]
    waits = sorted((start - sent) / 1e6 for start, sent in pairs if sent)
    if len(waits) != jobs:
        raise Failed(f"{len(waits)} jobs ran, not {jobs}")
    return {f"p{share}": waits[min(jobs - 1, jobs * share // 100)] for share in (50, 95, 99)}


def raw(store: Store) -> Figures:
    with copied(store, filled(OURS)) as database:
        answer = program(RAW[store.name], database)
    return {"per_second": answer["jobs"] / answer["seconds"], "cpu_us": answer["cpu_s"] / answer["jobs"] * 1e6}


def measures(store: Store, names: list[str], scale: Scale) -> list[Measure]:
    """Everything that is repeated in every round. What becomes a ratio stands close together."""
    systems = [SYSTEMS[name] for name in names if name in SYSTEMS]
    found: list[Measure] = []

    def add(system: str, what: str, function: Callable[..., Figures], *arguments: Any) -> None:
        found.append(Measure(system, what, lambda: function(store, *arguments)))

    if "raw" in names:
        add("raw", "drain", raw)
    for system in systems:
        for workers in system.drain_workers:
            what = "drain, 1 worker" if workers == 1 else f"drain, {workers} workers"
            add(system.name, what, drain, system, workers, scale.drained_by(system), filled(system))
        if system is OURS:
            add("ours", "drain, old rows", drain, OURS, 1, scale.jobs, PAST)
    for system in systems:
        add(system.name, "enqueue", enqueue, system, "single", scale.single)
        if system is OURS:
            add("ours", "enqueue_many", enqueue, OURS, "many", scale.jobs)
    for system in systems:
        add(system.name, "latency", latency, system, scale.spaced, 0.05)
        if system is OURS:
            add("ours", "latency, asleep", latency, OURS, scale.idle, 0.25)
    return found


@dataclass(frozen=True)
class DatabaseBench:
    """Everything that is measured on one database."""

    store: Store
    names: list[str]
    scale: Scale

    @property
    def name(self) -> str:
        return self.store.name

    @property
    def version(self) -> str:
        return self.store.version

    @property
    def durability(self) -> str:
        return self.store.durability

    def prepare(self) -> None:
        prepare(self.store, self.names, self.scale)

    def measures(self) -> list[Measure]:
        return measures(self.store, self.names, self.scale)

    def counted(self) -> dict[str, dict[str, Figures]]:
        return counted(self.store, self.names, self.scale) if isinstance(self.store, Postgres) else {}


# counted work: it is the same on a busy machine


def counted(store: Postgres, names: list[str], scale: Scale) -> dict[str, dict[str, Figures]]:
    """Bytes of WAL and round trips per job on PostgreSQL, each in a run of its own that nobody times."""
    store.set_full_page_writes(False)
    try:
        counted_here = [name for name in names if name in SYSTEMS or name == "raw"]  # not the peers on Redis
        return {name: dict(_counted(store, name, scale)) for name in counted_here}
    finally:
        store.set_full_page_writes(True)


def _counted(store: Postgres, name: str, scale: Scale) -> Iterator[tuple[str, Figures]]:
    if name == "raw":
        raw_drain = partial(program, RAW["postgres"])
        yield "drain", _count(store, filled(OURS), scale.jobs, lambda db, to: raw_drain(db, trace=to))
        return
    system, drained_jobs = SYSTEMS[name], scale.drained_by(SYSTEMS[name])

    def single(db: str, to: Path) -> None:
        produce(system, db, "single", scale.single, trace=to)

    def many(db: str, to: Path) -> None:
        produce(system, db, "many", scale.jobs, trace=to)

    def drain(db: str, to: Path) -> None:
        manage(system, db, *system.drain, trace=to).output()

    yield "enqueue", _count(store, empty(system), scale.single, single)
    yield "drain", _count(store, filled(system), drained_jobs, drain)
    if system is OURS:
        yield "enqueue_many", _count(store, empty(system), scale.jobs, many)
        yield "drain, old rows", _count(store, PAST, scale.jobs, drain)


def _count(store: Postgres, source: str, jobs: int, work: Callable[[str, Path], Any]) -> Figures:
    with copied(store, source) as database, tempfile.TemporaryDirectory() as directory:
        before = store.wal_position()
        work(database, Path(directory))
        return {
            "wal_bytes": (store.wal_position() - before) / jobs,
            "round_trips": trace.round_trips(Path(directory)) / jobs,
        }
