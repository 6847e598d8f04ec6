"""100,000 jobs through one child: its memory, its descriptors and its connections must not grow with them.

    python -m tests.chaos.leaks --store postgres
    python -m tests.chaos.leaks --jobs 3000

The jobs are of all kinds (`tests/chaos/jobs.py`). Between two portions everybody stands still, and the child, its
parent and the heart are looked at. The first tenth is for warming up: what is imported and cached once is no leak.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from tests import proc
from tests.chaos.crew import Crew, Worker
from tests.chaos.ground import Ground, each_store
from tests.waiting import wait_until

PORTIONS = 40
ROUNDS_SECONDS = 12.0
"""After the warming up, until each of the heart's threads has asked the store, and has its connection."""
DESCRIPTORS = 2
CHILD, HEART = 3, 2
"""Connections: of the threads that run jobs, fetch ahead and flush; of heartbeats and rounds."""
LISTEN = {"sqlite": 0, "postgres": 1, "mariadb": 0, "redis": 1}
"""One to hear of pushes, where the server tells of them."""


class Look(NamedTuple):
    jobs: int
    rss_kb: int
    descriptors: int


def run(given: argparse.Namespace) -> list[str]:
    begun = time.monotonic()
    with Ground(given.store, 30.0) as ground:
        stage = ground.open_stage()
        try:
            looks, connections = watch(stage, given.jobs)
        finally:
            stage.close()
    seconds = time.monotonic() - begun
    print(f"\n{given.store}: {given.jobs} jobs through one child, {seconds:.0f} s")
    problems = []
    for name, seen in looks.items():
        slope, first, fewest, most = judged(seen)
        print(
            f"  {name:7} RSS {seen[0].rss_kb / 1_024:.1f} -> {seen[-1].rss_kb / 1_024:.1f} MiB, "
            f"{slope / 1_024:+.3f} MiB per 10,000 jobs; descriptors {first}, later {fewest} to {most}"
        )
        if slope > given.slope * 1_024:
            problems.append(f"{name}: RSS grows by {slope / 1_024:.2f} MiB per 10,000 jobs")
        if most - first > DESCRIPTORS or first - fewest > DESCRIPTORS:
            problems.append(f"{name}: {fewest} to {most} descriptors, at first {first}")
    print(f"  connections to the store: at most {connections}")
    if connections > CHILD + HEART + LISTEN[given.store]:
        problems.append(f"{connections} connections to the store for one worker")
    return problems


def judged(seen: list[Look]) -> tuple[float, int, int, int]:
    """KiB per 10,000 jobs (least squares), and how many descriptors there were: at first, at least, at most."""
    mean_jobs = sum(look.jobs for look in seen) / len(seen)
    mean_rss = sum(look.rss_kb for look in seen) / len(seen)
    over = sum((look.jobs - mean_jobs) ** 2 for look in seen)
    slope = sum((look.jobs - mean_jobs) * (look.rss_kb - mean_rss) for look in seen) / over * 10_000
    descriptors = [look.descriptors for look in seen]
    return slope, descriptors[0], min(descriptors), max(descriptors)


def watch(stage: Any, jobs: int) -> tuple[dict[str, list[Look]], int]:
    """What was seen of each process after the first tenth, and the most connections at any moment."""
    worker = Worker("worker", stage.directory, stage.env, stage.alias, 1, "--no-scheduler")
    crew, connections = Crew([worker], []), Peak(stage, worker)
    crew.start()
    try:
        looks = _watch(stage, worker, jobs, connections)
        crew.dismiss(30.0)
    finally:
        crew.destroy()
    assert not crew.problems, crew.problems
    done = stage.outcomes()
    assert sum(done.values()) - done["retrying"] == jobs, done
    return looks, connections.most


def _watch(stage: Any, worker: Worker, jobs: int, connections: Peak) -> dict[str, list[Look]]:
    from django_jobqueue.jobs.payload import JobPayload
    from tests.chaos.jobs import kind

    looks, done = defaultdict(list), 0

    def is_through() -> bool:
        assert worker.is_alive, worker.last_words()
        connections.look()
        time.sleep(0.02)
        return bool(stage.is_settled())

    while done < jobs:
        count = min(-(-jobs // PORTIONS), jobs - done)
        stage.queue.push(*(JobPayload.create(kind(n, stage.alias), (n,)) for n in range(done, done + count)))
        done += count
        wait_until(is_through, f"the end of {done} jobs", 600)
        if done >= jobs / 10:
            if not looks:
                time.sleep(ROUNDS_SECONDS)
            for name, pid in family(stage, worker).items():
                looks[name].append(look_at(pid, done))
        if done * 10 // jobs != (done - count) * 10 // jobs:
            print(f"{stage.alias}: {done} jobs", file=sys.stderr, flush=True)
    return looks


def family(stage: Any, worker: Worker) -> dict[str, int]:
    from django_jobqueue.models import WorkerProcess

    rows = WorkerProcess.objects.using(stage.database).filter(store=stage.queue.store)
    [child] = rows.filter(state="running").values_list("pid", flat=True)
    [heart] = set(worker.children()) - {child}
    return {"child": child, "heart": heart, "parent": worker.pid}


def look_at(pid: int, jobs: int) -> Look:
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return Look(jobs, rss, len(os.listdir(f"/proc/{pid}/fd")))


class Peak:
    """The most connections that the worker's processes have held at any moment that was looked at."""

    COUNTS = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id()",
    }

    def __init__(self, stage: Any, worker: Worker) -> None:
        self.stage, self.worker = stage, worker
        self.most = 0
        assert stage.is_settled()  # by now our own are open
        self.ours = len(stage.client.client_list()) if stage.alias == "redis" else 0

    def look(self) -> None:
        self.most = max(self.most, self._count())

    def _count(self) -> int:
        from django.db import connections

        if self.stage.alias == "redis":
            return len(self.stage.client.client_list()) - self.ours
        connection = connections[self.stage.alias]
        if connection.vendor == "sqlite":
            return self._open_files(str(connection.settings_dict["NAME"]))
        with connection.cursor() as cursor:
            cursor.execute(self.COUNTS[connection.vendor])
            return int(cursor.fetchone()[0])

    def _open_files(self, name: str) -> int:
        """A connection of SQLite holds the file open."""
        files = [file for pid in self.worker.children() for file in proc.open_files(pid)]
        return files.count(os.path.realpath(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000, help="How many (default: %(default)s).")
    parser.add_argument(
        "--slope",
        type=float,
        default=1.0,
        metavar="MIB",
        help="RSS may grow so much per 10,000 (default: %(default)s).",
    )
    return each_store("tests.chaos.leaks", run, parser)


if __name__ == "__main__":
    sys.exit(main())
