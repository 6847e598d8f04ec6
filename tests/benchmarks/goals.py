"""What was promised, as ratios measured in the same round; drift of the machine cancels out."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

Rounds = dict[str, dict[str, dict[str, list[float]]]]
"""system -> what -> figure -> one value per round."""

PEER = "django-tasks-db"
DRAIN = "drain, 1 worker"


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
    found = []
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


def best_drain(whats: dict[str, dict[str, list[float]]]) -> list[float]:
    """The configuration with the best median."""
    drains = [figures["per_second"] for what, figures in whats.items() if what.startswith("drain")]
    return max(drains, key=median, default=[])


def speeds(whats: dict[str, dict[str, list[float]]], what: str) -> list[float]:
    return whats[what]["per_second"]


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]
