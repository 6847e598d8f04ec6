"""Does a claim cost more when more jobs wait? Only ours: the same claims in a line of a thousand and in a long one.

In turns, by processor time and by what was counted: a busy machine does not change the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median

from tests.benchmarks.crowds import LONG
from tests.benchmarks.measures import Bench, Figures, Measure, Scale, is_ours
from tests.benchmarks.systems import System

TITLE = "claim, long line"
SHORT = 1_000
"""Jobs."""
TURNS = 3
"""One in a small run."""


def measures(bench: Bench) -> Iterator[Measure]:
    for system in bench.systems:
        if is_ours(system):
            yield Measure(system.name, TITLE, lambda system=system: measure(bench, system))


def measure(bench: Bench, system: System) -> Figures:
    short, long = [], []
    for _ in range(TURNS if bench.scale.jobs >= Scale().jobs else 1):
        short.append(claims(bench, system, bench.empty(system), SHORT))
        long.append(claims(bench, system, bench.crowded(system, LONG), 0))
    return compared(short, long)


def claims(bench: Bench, system: System, source: str, more: int) -> Figures:
    with bench.place(system, source) as place:
        if more:
            place.produce("many", more)
        told = dict(system.serves.environment)
        found: Figures = json.loads(place.start("claims", str(bench.store.pid), **told).output())
        return found


def compared(short: list[Figures], long: list[Figures]) -> Figures:
    """`us_times`: how many times as much processor time. `work_times`: of what was counted; 0: nothing was."""
    found = {}
    for name in ("us", "work"):
        one, many = (median(figures[name] for figures in of) for of in (short, long))
        found |= {f"{name}_short": one, f"{name}_long": many, f"{name}_times": many / one if one else 0.0}
    return found
