"""Where the time goes: the processor time of a drained job, by whom it was spent. Only ours, in one process.

By differences, because a profiler costs more than what it looks at: the server's account before and after a drain, the
worker's own, and the same jobs through the queue alone (tests/benchmarks/layers.py). What the worker has spent beyond
these is its own: contexts, signals, timing, the heart's view of it, fetching ahead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.benchmarks.measures import Bench, Figures, Measure, directory, drained, is_ours, records
from tests.benchmarks.systems import System
from tests.benchmarks.systems.base import Setup

CORES = 2
"""What "two cores allow" means: all of both, at no idle moment."""


def measures(bench: Bench) -> Iterator[Measure]:
    for system in bench.systems:
        for setup in system.setups if is_ours(system) else ():
            if setup.title.endswith("1 process"):
                what = f"where the time goes, {setup.title}"
                yield Measure(system.name, what, lambda system=system, setup=setup: measure(bench, system, setup))


def measure(bench: Bench, system: System, setup: Setup) -> Figures:
    jobs = bench.scale.drained_by(system)
    with bench.place(system, bench.filled(system), setup) as place, directory() as record:
        before = bench.servers()
        bench.run_all(place, place.workers(setup, record=record))
        server = (bench.servers() - before) / jobs * 1e6
        worker = drained(records(record), jobs)["cpu_us"]
    with bench.place(system, bench.filled(system), setup) as place:
        alone = json.loads(place.start("layers", **dict(setup.environment)).output())
    return shares(server, worker, alone["client_us"], alone["call_us"])


def shares(server: float, worker: float, client: float, call: float) -> Figures:
    """Microseconds of a job; `allowed` is how many a second the cores could do at best at this price."""
    return {
        "server_us": server,
        "client_us": client,
        "call_us": call,
        "rest_us": worker - client - call,
        "total_us": server + worker,
        "allowed": CORES * 1e6 / (server + worker),
    }
