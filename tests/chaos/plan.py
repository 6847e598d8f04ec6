"""What a run will do: which faults, how many of each, in which order. The seed decides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import ceil

STORES = ("sqlite", "postgres", "mariadb", "redis")

# How often, in a run as long as their sum. At least twice each, however few there are.
TO_WORKERS = {
    "kill": 600,
    "kill_alone": 300,
    "kill_parent": 60,
    "kill_heart": 40,
    "freeze": 200,
    "pause": 40,
    "term": 60,
}
TO_WORKERS |= {"kill_producer": 20}
TO_A_SERVER = {"cut": 200, "restart": 20, "delay": 10, "silence": 10, "reset": 20, "swallow": 20}
WEIGHTS = {
    "sqlite": TO_WORKERS | {"hog": 40},
    "postgres": TO_WORKERS | TO_A_SERVER,
    "mariadb": TO_WORKERS | TO_A_SERVER,
    "redis": TO_WORKERS | TO_A_SERVER | {"flush": 40, "freeze_store": 10},
}
KINDS = {
    "kill": "SIGKILL of a child with jobs in hand",
    "kill_alone": "SIGKILL of a worker without a parent, with jobs in hand",
    "kill_parent": "SIGKILL of a supervisor whose children have jobs in hand",
    "kill_heart": "SIGKILL of the process that speaks with the store for the children",
    "freeze": "SIGSTOP of a process or of a whole command for longer than the lease, then SIGCONT",
    "pause": "SIGSTOP for less than the lease, then SIGCONT",
    "term": "SIGTERM",
    "kill_producer": "SIGKILL of a producer",
    "cut": "the server ends every connection (pg_terminate_backend, KILL, CLIENT KILL)",
    "restart": "the server is killed at once and started again",
    "delay": "the network is slow",
    "silence": "the network carries nothing for longer than the lease",
    "reset": "the network resets every connection",
    "swallow": "requests are carried out, their answers never arrive",
    "flush": "SCRIPT FLUSH",
    "freeze_store": "the server is frozen for longer than the lease",
    "hog": "somebody else holds SQLite's write lock",
}
AT_LEAST = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    store: str
    jobs: int = 3_000
    """At least: there is work as long as there are faults."""
    faults: int = 50
    seed: int = 1
    workers: tuple[int, ...] = (2, 2, 0)
    """Commands, and how many children each has. 0: it runs the jobs itself."""
    producers: int = 2
    lease: float = 1.5
    pace: float = 0.6
    """Seconds from the beginning of one fault to that of the next, on average."""

    @property
    def rate(self) -> float:
        """Jobs per second and producer: a little faster than the faults, which end the run."""
        return self.jobs / self.producers / (self.faults * self.pace * 1.2)

    def schedule(self) -> list[str]:
        """The kinds in order: each as often as its share says, rounded up."""
        weights = WEIGHTS[self.store]
        share = self.faults / sum(weights.values())
        kinds = [kind for kind, weight in weights.items() for _ in range(max(AT_LEAST, ceil(weight * share)))]
        random.Random(self.seed).shuffle(kinds)
        return kinds
