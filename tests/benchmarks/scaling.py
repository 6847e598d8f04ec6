"""From one process to two: how many times as many jobs. Only ours.

Jobs of some milliseconds of CPU have a core each when there are two processes, and the store is far from its limit. Of
jobs that do nothing the store needs its share of the same two cores, so there is no goal for them; what two cores allow
is in "where the time goes".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.measures import Bench, Figures, Measure, directory, drained, is_ours, records
from tests.benchmarks.systems import System
from tests.benchmarks.systems.base import Setup


@dataclass(frozen=True, slots=True)
class Work:
    title: str
    seconds: float
    """Of CPU, by the clock of the thread: a busy machine does not make a job longer or shorter."""
    jobs: int
    wanted: float
    """Times as many with two processes."""


WORKS = (Work("1 ms of CPU", 0.001, 3_000, 1.7), Work("5 ms of CPU", 0.005, 600, 1.7))


def title(work: Work) -> str:
    return f"scaling, jobs of {work.title}"


def measures(bench: Bench) -> Iterator[Measure]:
    for system in bench.systems:
        for work in WORKS if is_ours(system) else ():
            yield Measure(system.name, title(work), partial(measure, bench, system, work))


def measure(bench: Bench, system: System, work: Work) -> Figures:
    one, two = (rate(bench, system, work, processes) for processes in (1, 2))
    return {"one": one, "two": two, "times": two / one}


def rate(bench: Bench, system: System, work: Work, processes: int) -> float:
    """Jobs per second by their starts, from when all processes were at work."""
    jobs = max(20, int(work.jobs * min(1.0, bench.scale.jobs / 10_000)))
    serves = system.serves
    options = ("--drain", "--processes", str(processes))
    setup = Setup(work.title, 1, options, serves.companion, serves.environment)
    with bench.place(system, bench.empty(system)) as place, directory() as record:
        place.produce("burns", jobs, "--pause", str(work.seconds))
        bench.run_all(place, place.workers(setup, record=record))
        return drained(records(record), jobs)["starts_per_second"]
