"""What the benchmark has to know of a system. Every other file here is one system, and can be read by itself.

An object of it lives twice: where the benchmark runs, which asks how to start the system and when it is done, and in
processes of the system's own virtualenv, which are the only ones that call `prepare`, `open` and what comes after them.
That is why a peer is imported in `open`: the benchmark itself has none of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to start the workers. A system may have several: the one that is best counts."""

    title: str
    workers: int = 1
    """How many of them the benchmark starts."""
    options: tuple[str, ...] = ()
    """Given to `work`."""
    companion: str = ""
    """The database that belongs to it, for a Django app whose jobs are on Redis."""
    environment: tuple[tuple[str, str], ...] = ()


class System:
    name: str
    stores: tuple[str, ...]
    packages: tuple[str, ...] = ()
    """What its virtualenv holds; `peers.txt` has the versions. Nothing: it runs in ours."""
    promise: str
    """How often a job runs whose worker is killed in the middle of it."""
    setups: tuple[Setup, ...]
    tried: tuple[Setup, ...] = ()
    """Others that were tried and were no better; `--tried` measures them again."""
    serving: Setup | None = None
    """What waits for jobs, when its latency is best with another setup than its drain."""
    share = 1.0
    """Of the jobs to drain: a slow system gets fewer, so that a round ends."""
    left: str
    """What is there while a job waits or runs: on Redis the keys, on a database a query that gives a row."""
    done = ""
    """A query that counts the jobs that it has recorded as done. Peers on Redis, and huey, record none."""
    ends_by_itself = False
    """Its workers end when nothing is left; the others are told to, and timed from their first job to their last."""
    has_many = False
    """Whether it can enqueue many at once."""
    filled_by = ""
    """The system whose jobs it drains, when it is not itself."""

    def __init__(self, store: str, address: str = "", database: str = "") -> None:
        self.store, self.address, self.database = store, address, database

    def __str__(self) -> str:
        return f"{self.name} on {self.store}"

    @property
    def serves(self) -> Setup:
        return self.serving or self.setups[0]

    # -- in a process of its own -------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make its tables in an empty store."""

    def open(self) -> None:
        """Connect; what is below works afterwards. `recording.run` is the body of its job."""
        raise NotImplementedError

    def open_to_enqueue(self) -> None:
        """The same on the producing side, where that is another connection."""
        self.open()

    def enqueue(self, sent_ns: int) -> Any:
        raise NotImplementedError

    def enqueue_many(self, jobs: int) -> None:
        raise NotImplementedError

    def work(self, *options: str) -> None:
        """Until nothing is left, if it can (`ends_by_itself`), else until SIGTERM."""
        raise NotImplementedError

    def close(self) -> None:
        """The producing side is done."""


def environment(system: System, address: str, database: str) -> dict[str, str]:
    """What `here` reads in the process that is started with it."""
    return {
        "BENCH_SYSTEM": system.name,
        "BENCH_STORE": system.store,
        "BENCH_ADDRESS": address,
        "BENCH_DATABASE": database or address,
    }


def here(known: tuple[type[System], ...]) -> System:
    """The system that this process belongs to."""
    name, *where = (os.environ[f"BENCH_{what}"] for what in ("SYSTEM", "STORE", "ADDRESS", "DATABASE"))
    kind = next(one for one in known if one.name == name and where[0] in one.stores)
    return kind(*where)
