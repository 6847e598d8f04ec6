"""What was promised, as ratios measured in the same round; drift of the machine cancels out."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

Rounds = dict[str, dict[str, dict[str, list[float]]]]
"""system -> what -> figure -> one value per round."""

PEER = "django-tasks-db"
DRAIN = "drain, 1 worker"
DRAINS_ON_REDIS = (
    ("none", "huey", 3.5),
    ("none", "dramatiq", 4.0),
    ("none", "celery", 12.0),
    ("all in SQLite", "huey", 2.0),
    ("all in PostgreSQL", "huey", 2.0),
)
"""What of the jobs is recorded where, a peer, and how many times as fast as it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    store: str
    what: str
    values: list[float]
    goal: float
    at_most: bool = False

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool:
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def verdicts(store: str, rounds: Rounds) -> list[Verdict]:
    """The goals that can be judged with what was measured."""
    ours = rounds.get("ours", {})
    if not ours:
        return []
    return on_redis(rounds) if store == "redis" else on_a_database(store, rounds)


def on_redis(rounds: Rounds) -> list[Verdict]:
    """Ours at its best with each kind of record, against each peer at its best."""
    ours, found = rounds["ours"], []
    for record, peer, goal in DRAINS_ON_REDIS:
        if (theirs := best_drain(rounds.get(peer, {}))) and (mine := best_drain(ours, f"drain, record {record}")):
            found.append(Verdict("redis", f"drain, record {record} / {peer}", ratios(mine, theirs), goal))
    for what in ("enqueue", "enqueue_many") if "raw" in rounds else ():
        limit = ratios(speeds(ours, what), speeds(rounds["raw"], what))
        found.append(Verdict("redis", f"{what} / raw limit", limit, 0.6))
    for what in ("latency", "latency, asleep"):
        found.append(Verdict("redis", f"{what}, p95 in ms", ours[what]["p95"], 4.0, at_most=True))
    found.append(Verdict("redis", "memory of a waiting job, bytes", ours["waiting job"]["bytes"], 350, at_most=True))
    return found


def on_a_database(store: str, rounds: Rounds) -> list[Verdict]:
    ours, found = rounds["ours"], []
    if peer := best_drain(rounds.get(PEER, {})):
        goal = 20.0 if store == "postgres" else 25.0
        found.append(Verdict(store, f"drain / {PEER} at its best", ratios(speeds(ours, DRAIN), peer), goal))
    if "raw" in rounds and store == "postgres":
        limit = rounds["raw"]["drain"]["per_second"]
        found.append(Verdict(store, "drain / raw limit", ratios(speeds(ours, DRAIN), limit), 0.4))
    old = ratios(speeds(ours, "drain, old rows"), speeds(ours, DRAIN))
    found.append(Verdict(store, "drain with old rows / without", old, 0.9))
    for what in ("latency", "latency, asleep"):
        found.append(Verdict(store, f"{what}, p95 in ms", ours[what]["p95"], 20.0, at_most=True))
    return found


def best_drain(whats: dict[str, dict[str, list[float]]], kind: str = "drain") -> list[float]:
    """The configuration with the best median."""
    drains = [figures["per_second"] for what, figures in whats.items() if what.startswith(kind)]
    return max(drains, key=median, default=[])


def speeds(whats: dict[str, dict[str, list[float]]], what: str) -> list[float]:
    return whats[what]["per_second"]


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]
