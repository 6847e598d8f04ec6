"""Jobs that take their time: does anything stand idle while they wait? Only ours, with several at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any

from tests.benchmarks.measures import Bench, Figures, Measure, Scale, directory, records
from tests.benchmarks.processes import Failed
from tests.benchmarks.systems import System
from tests.benchmarks.systems.base import Setup


@dataclass(frozen=True, slots=True)
class Wait:
    title: str
    how: str
    """What `program` enqueues."""
    seconds: float
    at_once: int
    options: tuple[str, ...]
    rounds: int
    """How many jobs each of those at once gets; two in a small run."""


WAITS = (
    Wait("10 ms jobs, 2 processes of 100 threads", "pauses", 0.01, 200, ("--threads", "100", "--processes", "2"), 100),
    Wait("10 ms jobs, async in 2 processes", "async", 0.01, 200, ("--concurrency", "100", "--processes", "2"), 100),
    Wait("1 s jobs, 4 processes", "pauses", 1.0, 4, ("--processes", "4"), 10),
)


def measures(bench: Bench) -> Iterator[Measure]:
    for system in bench.systems:
        for wait in WAITS if system.name == "ours" else ():
            yield Measure(system.name, wait.title, lambda wait=wait, system=system: measure(bench, system, wait))


def measure(bench: Bench, system: System, wait: Wait) -> Figures:
    jobs = wait.at_once * (wait.rounds if bench.scale.jobs >= Scale().jobs else 2)
    one = system.serves
    setup = Setup(wait.title, 1, ("--drain", *wait.options), one.companion, one.environment)
    with bench.place(system, bench.empty(system)) as place, directory() as record:
        place.produce(wait.how, jobs, "--pause", str(wait.seconds))
        bench.run_all(place, place.workers(setup, record=record))
        return {"of_ideal": of_ideal(records(record), jobs, wait)}


def of_ideal(found: list[dict[str, Any]], jobs: int, wait: Wait) -> float:
    """The time of jobs that follow each other without a gap, over the time it took: 1 is perfect.

    It begins when the processes start their first jobs (the mean of them: none is to blame for the start of another),
    and ends with the last job.
    """
    starts = sorted(moment for one in found for moment in one["started"])
    if len(starts) != jobs:
        raise Failed(f"{len(starts)} jobs ran, not {jobs}")
    begun = mean(one["started"][0] for one in found if one["started"])
    ideal = jobs * wait.seconds / wait.at_once
    return ideal / ((starts[-1] - begun) / 1e9 + wait.seconds)
