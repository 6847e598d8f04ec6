"""What is to be reached, as ratios measured in the same round: drift of the machine cancels out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.benchmarks.long_line import TITLE as CLAIM
from tests.benchmarks.pinned_snapshot import BACKLOG
from tests.benchmarks.pinned_snapshot import TITLE as PINNED
from tests.benchmarks.scaling import WORKS, Work, title

Whats = dict[str, dict[str, list[float]]]
"""what -> figure -> one value per round."""
Stores = dict[str, Any]
"""store -> what the JSON file holds of it."""
DJANGO_PEERS = ("django-tasks-db", "django-ox", "dj-queue", "django-q2")
CROWDED = {
    "drain, old rows": 0.95,
    "drain, delayed jobs": 0.95,
    "drain, blocked jobs": 0.95,
    "drain, long line": 1 / 1.3,
}
"""With much else in the store, and how much of the speed without it must be left."""
NOT_QUEUES = ("ours", "raw")
"""Whom nobody is compared with: us and the bare loops."""


class NotMeasured(Exception):
    """This run has no figures for it."""


@dataclass(frozen=True, slots=True)
class Goal:
    store: str
    what: str
    wanted: float
    find: Callable[[Stores], list[float]]
    """One value per round. Raises NotMeasured."""
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    store: str
    what: str
    values: list[float] = field(default_factory=list)
    goal: float = 0.0
    at_most: bool = False

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool:
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def verdicts(stores: Stores) -> list[Verdict]:
    """Of all goals on these stores; without values where this run has no figures."""
    return [judged(goal, stores) for goal in GOALS if goal.store in stores]


def judged(goal: Goal, stores: Stores) -> Verdict:
    try:
        values = goal.find(stores)
    except NotMeasured:
        values = []
    return Verdict(goal.store, goal.what, values, goal.wanted, goal.at_most)


# what was measured


def whats(stores: Stores, store: str, system: str) -> Whats:
    found: dict[str, Whats] = stores.get(store, {}).get("rounds", {})
    if system not in found:
        raise NotMeasured(system)
    return found[system]


def figure(stores: Stores, store: str, system: str, what: str, name: str = "per_second") -> list[float]:
    try:
        return whats(stores, store, system)[what][name]
    except KeyError:
        raise NotMeasured(what) from None


def drain(stores: Stores, store: str, system: str, kind: str = "") -> list[float]:
    """Of the setup with the best median, among those whose title begins with `kind`."""
    return max(drains(whats(stores, store, system), kind).values(), key=median)


def drains(measured: Whats, kind: str = "") -> dict[str, list[float]]:
    begin = f"drain, {kind}"
    found = {
        what: figures["per_second"]
        for what, figures in measured.items()
        if what.startswith(begin) and what not in CROWDED
    }
    if not found:
        raise NotMeasured(begin)
    return found


def peers(stores: Stores, store: str) -> list[str]:
    """Whose latency was measured, without us."""
    return [
        name
        for name, measured in stores.get(store, {}).get("rounds", {}).items()
        if name not in NOT_QUEUES and "latency" in measured
    ]


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


# the goals


def drain_by(peer: str, kind: str = "") -> Callable[[str], Callable[[Stores], list[float]]]:
    return lambda store: lambda stores: ratios(drain(stores, store, "ours", kind), drain(stores, store, peer))


def faster(store: str, peer: str, wanted: float, kind: str = "") -> Goal:
    title = f"drain, {kind} / {peer}" if kind else f"drain / {peer}"
    return Goal(store, title, wanted, drain_by(peer, kind)(store))


def compared(store: str, what: str, peer: str, wanted: float) -> Goal:
    def find(stores: Stores) -> list[float]:
        return ratios(figure(stores, store, "ours", what), figure(stores, store, peer, what))

    return Goal(store, f"{what} / {peer}", wanted, find)


def one_by_one(store: str, wanted: float) -> Goal:
    """Against each Django peer: the closest of them counts."""

    def find(stores: Stores) -> list[float]:
        known = [name for name in DJANGO_PEERS if name in stores[store]["rounds"]]
        if not known:
            raise NotMeasured("Django peers")
        closest = max((figure(stores, store, name, "enqueue") for name in known), key=median)
        return ratios(figure(stores, store, "ours", "enqueue"), closest)

    return Goal(store, "enqueue / the fastest Django peer", wanted, find)


def as_quick_as(store: str, share: str, wanted: float) -> Goal:
    """Latency over that of the peer that is best."""

    def find(stores: Stores) -> list[float]:
        if not (known := peers(stores, store)):
            raise NotMeasured("peers")
        best = min((figure(stores, store, name, "latency", share) for name in known), key=median)
        return ratios(figure(stores, store, "ours", "latency", share), best)

    return Goal(store, f"latency, {share} / the best peer", wanted, find, at_most=True)


def latency(store: str, share: str, wanted: float, what: str = "latency") -> Goal:
    return plain(store, f"{what}, {share} in ms", wanted, what, share)


def plain(store: str, title: str, wanted: float, what: str, name: str) -> Goal:
    return Goal(store, title, wanted, lambda stores: figure(stores, store, "ours", what, name), at_most=True)


def one_process(store: str, wanted: float) -> Goal:
    def find(stores: Stores) -> list[float]:
        return ratios(drain(stores, store, "ours", "1 process"), drain(stores, store, "raw", "1 connection"))

    return Goal(store, "drain, 1 process / raw, 1 connection", wanted, find)


def growth(store: str, what: str) -> Goal:
    kind = "record none, 1 process" if store == "redis" else "1 process"

    def find(stores: Stores) -> list[float]:
        return ratios(figure(stores, store, "ours", what), drain(stores, store, "ours", kind))

    return Goal(store, f"{what} / without", CROWDED[what], find)


def claim_growth(store: str) -> Goal:
    return plain(store, "claim in a long line: times the CPU of one among 1,000", 1.3, CLAIM, "us_times")


def ideal(store: str, what: str, wanted: float) -> Goal:
    return Goal(store, f"{what}: of the ideal", wanted, lambda stores: figure(stores, store, "ours", what, "of_ideal"))


def half_of_postgres(stores: Stores) -> list[float]:
    return ratios(drain(stores, "mariadb", "ours"), drain(stores, "postgres", "ours"))


def cost_of_record(stores: Stores) -> list[float]:
    return ratios(drain(stores, "redis", "ours", "record all"), drain(stores, "redis", "ours", "record none"))


def wal(stores: Stores) -> list[float]:
    """Of a job's whole life: one enqueue, one execution."""
    try:
        counted = stores["postgres"]["counted"]["ours"]
        return [counted["enqueue"]["wal_bytes"] + counted["drain, 1 process"]["wal_bytes"]]
    except KeyError:
        raise NotMeasured("WAL") from None


def scales(store: str, work: Work) -> Goal:
    def find(stores: Stores) -> list[float]:
        return figure(stores, store, "ours", title(work), "times")

    return Goal(store, f"{title(work)}: 2 processes / 1", work.wanted, find)


IDEALS = (
    ("10 ms jobs, 2 processes of 100 threads", 0.85),
    ("10 ms jobs, async in 2 processes", 0.85),
    ("1 s jobs, 4 processes", 0.98),
)
GOALS = (
    faster("postgres", "pgqueuer", 1.5),
    faster("postgres", "procrastinate", 45),
    faster("postgres", "django-tasks-db", 50),
    faster("postgres", "django-ox", 50),
    faster("postgres", "raw", 0.6),
    one_process("postgres", 0.5),
    compared("postgres", "enqueue", "raw", 0.75),
    one_by_one("postgres", 1.5),
    compared("postgres", "enqueue_many", "pgqueuer", 1.2),
    as_quick_as("postgres", "p50", 1.25),
    as_quick_as("postgres", "p99", 1.0),
    latency("postgres", "p50", 3.0),
    latency("postgres", "p99", 25.0, "latency, half load"),
    *(growth("postgres", what) for what in CROWDED),
    claim_growth("postgres"),
    *(ideal("postgres", what, wanted) for what, wanted in IDEALS),
    *(scales("postgres", work) for work in WORKS),
    Goal("postgres", "WAL of a job, bytes", 2_500, wal, at_most=True),
    plain("postgres", "a snapshot is held, jobs that wait in the last third", BACKLOG, PINNED, "backlog"),
    plain("postgres", "memory of a child over Django's, MB", 12, "memory of a child", "more_mb"),
    faster("sqlite", "huey", 5),
    faster("sqlite", "django-tasks-db", 45),
    compared("sqlite", "enqueue", "raw", 0.2),
    one_by_one("sqlite", 1.5),
    as_quick_as("sqlite", "p50", 1.25),
    as_quick_as("sqlite", "p99", 1.0),
    latency("sqlite", "p50", 5.0),
    latency("sqlite", "p99", 25.0, "latency, half load"),
    *(growth("sqlite", what) for what in CROWDED),
    claim_growth("sqlite"),
    *(ideal("sqlite", what, wanted) for what, wanted in IDEALS),
    *(scales("sqlite", work) for work in WORKS),
    plain("sqlite", "memory of a child over Django's, MB", 12, "memory of a child", "more_mb"),
    Goal("mariadb", "drain / ours on PostgreSQL", 0.5, half_of_postgres),
    latency("mariadb", "p99", 25.0, "latency, half load"),
    *(growth("mariadb", what) for what in CROWDED),
    claim_growth("mariadb"),
    *(ideal("mariadb", what, wanted) for what, wanted in IDEALS),
    *(scales("mariadb", work) for work in WORKS),
    plain("mariadb", "memory of a child over Django's, MB", 12, "memory of a child", "more_mb"),
    faster("redis", "huey", 5, "record none"),
    faster("redis", "dramatiq", 6, "record none"),
    faster("redis", "celery", 18, "record none"),
    faster("redis", "raw", 0.5, "record none"),
    faster("redis", "huey", 3, "record all"),
    growth("redis", "drain, delayed jobs"),
    growth("redis", "drain, long line"),
    claim_growth("redis"),
    *(ideal("redis", what, wanted) for what, wanted in IDEALS),
    *(scales("redis", work) for work in WORKS),
    Goal("redis", "drain, record all / record none", 0.7, cost_of_record),
    compared("redis", "enqueue", "raw", 0.7),
    compared("redis", "enqueue_many", "rq", 5),
    as_quick_as("redis", "p50", 1.25),
    as_quick_as("redis", "p99", 1.0),
    latency("redis", "p50", 1.5),
    latency("redis", "p99", 25.0, "latency, half load"),
    plain("redis", "memory of a waiting job of 200 bytes", 300, "waiting job", "bytes"),
    plain("redis", "memory of a child over Django's, MB", 12, "memory of a child", "more_mb"),
)
"""The part of the goals that this benchmark can judge; docs/explanation/performance.md tells the others."""
WATCHED = (*(goal for goal in GOALS if "/" in goal.what and "scaling" not in goal.what), faster("sqlite", "raw", 0))
"""Ratios that should not fall, goal or not."""
