"""Counted work, which is the same on a busy machine: WAL and round trips per job, each in a run that nobody times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import trace
from tests.benchmarks.crowds import CROWDS
from tests.benchmarks.measures import Bench, Figures, directory, is_ours
from tests.benchmarks.processes import Failed, Place
from tests.benchmarks.stores import Postgres
from tests.benchmarks.systems import System
from tests.benchmarks.systems.base import Setup

Work = Callable[[Place, Path], object]
TRACED = ("ours", "raw", "django-tasks-db", "django-ox", "dj-queue", "django-q2", "celery", "dramatiq", "huey", "rq")
"""Whose connections we can watch: Django's, redis-py's and our own."""


def counted(bench: Bench) -> dict[str, dict[str, Figures]]:
    """system -> what -> figures. Nothing on SQLite, which is no server, and on MariaDB."""
    if bench.name not in ("postgres", "redis"):
        return {}
    wal = bench.store if isinstance(bench.store, Postgres) else None
    if wal:
        wal.set_full_page_writes(False)
    found = {}
    try:
        for system in bench.systems:
            try:
                found[system.name] = dict(of_one(bench, system, wal))
            except Failed as problem:  # at the end of an hour: the figures of the others are good
                print(f"{system}: nothing is counted: {problem}", file=sys.stderr)
    finally:
        if wal:
            wal.set_full_page_writes(True)
    return found


def of_one(bench: Bench, system: System, wal: Postgres | None) -> Iterator[tuple[str, Figures]]:
    scale, drained = bench.scale, bench.scale.drained_by(system)

    def run(what: str, source: str, jobs: int, work: Work, setup: int = 0) -> Iterator[tuple[str, Figures]]:
        if not what.startswith(scale.what):
            return
        with bench.place(system, source, system.setups[setup]) as place, directory() as to:
            before = wal.wal_position() if wal else 0
            work(place, to)
            found = {"wal_bytes": (wal.wal_position() - before) / jobs} if wal else {}
            if system.name in TRACED:
                found["round_trips"] = trace.round_trips(to) / jobs
        yield what, found

    yield from run("enqueue", bench.empty(system), scale.single, produce("single", scale.single))
    if system.has_many:
        yield from run("enqueue_many", bench.empty(system), scale.jobs, produce("many", scale.jobs))
    for number, setup in enumerate(system.setups):
        if setup.workers == 1 or len(system.setups) == 1:
            yield from run(f"drain, {setup.title}", bench.filled(system), drained, drain(bench, setup), number)
    if is_ours(system) and wal:
        for kind, words in CROWDS.items():
            yield from run(f"drain, {words}", bench.crowded(system, kind), drained, drain(bench, system.setups[0]))


def drain(bench: Bench, setup: Setup) -> Work:
    return lambda place, to: bench.run_all(place, place.workers(setup, trace=to))


def produce(how: str, jobs: int) -> Work:
    return lambda place, to: place.produce(how, jobs, trace=to)
