"""Jobs come at a steady rate beside a transaction that nobody ends: does a backlog grow? Only ours, on PostgreSQL.

VACUUM can remove nothing that has died since (tests/chaos/mvcc.py), so the line of ready jobs gets one dead entry for
each job that passes: 144,000 in three minutes of 800 jobs a second.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from contextlib import closing
from statistics import median
from typing import Any

import psycopg

from tests.benchmarks.measures import Bench, Figures, Measure, directory, is_ours, records
from tests.benchmarks.processes import Failed, alive
from tests.benchmarks.stores import Postgres
from tests.benchmarks.systems import System
from tests.chaos.mvcc import DEAD, pin

TITLE = "a snapshot is held"
PER_SECOND = 800
BACKLOG = PER_SECOND / 4
"""Jobs: what comes in a quarter of a second. More than that, most of the time, is a backlog."""
SECOND = 1_000_000_000
"""In nanoseconds."""


def measures(bench: Bench) -> Iterator[Measure]:
    for system in bench.systems:
        if is_ours(system) and isinstance(bench.store, Postgres):
            yield Measure(system.name, TITLE, lambda system=system: measure(bench, system))


def measure(bench: Bench, system: System) -> Figures:
    seconds = bench.scale.pinned
    with bench.place(system, bench.empty(system)) as place, directory() as record:
        workers = place.workers(system.serves, record=record)
        with alive(workers), closing(psycopg.connect(place.address)) as old:
            place.produce("single", 1)
            bench.wait(place, workers)  # the worker is there
            pin(old)
            place.produce("paced", PER_SECOND, "--seconds", str(seconds))
            bench.wait(place, workers)
            dead = dict(bench.store.rows(place.address, DEAD))
        found = records(record)
    return waiting(found, PER_SECOND * seconds) | {"dead": float(min(dead.values()))}


def waiting(found: list[dict[str, Any]], jobs: int) -> Figures:
    """In the last third: how many jobs waited (`backlog`: the median, `worst`: at most), and for how many ms.

    A moment in which the machine does something else is no backlog; one that grows is there most of the time.
    """
    pairs = [pair for one in found for pair in zip(one["sent"], one["started"], strict=True) if pair[0]]
    if len(pairs) != jobs:
        raise Failed(f"{len(pairs)} jobs ran, not {jobs}")
    sent, started = sorted(one for one, _ in pairs), sorted(one for _, one in pairs)
    begin = sent[0] + (sent[-1] - sent[0]) * 2 // 3
    moments = range(begin, sent[-1], SECOND // 100)
    waited = [float(bisect(sent, now) - bisect(started, now)) for now in moments]
    waits = sorted((start - one) / 1e6 for one, start in pairs if one >= begin)
    shares = {f"p{share}": waits[len(waits) * share // 100] for share in (50, 95, 99)}
    return {"backlog": median(waited), "worst": max(waited)} | shares
