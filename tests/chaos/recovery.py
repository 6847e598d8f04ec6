"""How soon work goes on: after a child was killed, after a host was lost, after its store was away.

    python -m tests.chaos.recovery --store postgres
    python -m tests.chaos.recovery --store redis --only host --lease 30
    python -m tests.chaos.recovery --only ticks

Real commands in the middle of real jobs. A child is killed while another one is idle: measured is until the job runs
again there. A host is a command whose processes are killed all at once, heart and parent included: nobody but the end
of the lease tells of it. A store is killed and started again some seconds later, every other time with nothing to do:
measured is from its first answer to the next start of a job. On SQLite somebody else holds the write lock instead.
The same with a scheduler: measured is until the next tick is a job, and each tick must be one.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.chaos.crew import Crew, Worker
from tests.chaos.ground import Ground, each_store, quantiles
from tests.chaos.ticking import Ticking
from tests.waiting import wait_until

CHILD_SECONDS, LEASE_AND, STORE_SECONDS = 2.0, 5.0, 5.0
"""What was promised (P10)."""
CROWD = 5
"""Hosts that are lost in one round."""
PATIENCE = 120.0
LONGEST_OUTAGE = 6.0


class Trial:
    """One store, and what is started on it."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self.ground, self.stage = ground, ground.open_stage()
        from tests.crash import tasks

        self.tasks = tasks
        self.rng = random.Random(seed)
        self.problems: list[str] = []

    @contextmanager
    def workers(self, *processes: int, **conf: Any) -> Iterator[list[Worker]]:
        """Commands with so many children each, up and waiting for jobs."""
        import json

        env = self.stage.env | {"JOBQUEUE_TEST_CONF": json.dumps(conf), "JOBQUEUE_TEST_LOG": ""}
        name = f"worker{self.rng.random()}-"
        found = [
            Worker(f"{name}{n}", self.ground.files, env, self.stage.alias, count, "--no-scheduler")
            for n, count in enumerate(processes)
        ]
        for worker in found:
            worker.start()
        try:
            wait_until(lambda: self._running(found) == sum(processes), "all are up", PATIENCE)
            yield found
        finally:
            for worker in found:
                worker.children()
            Crew(found, []).destroy()

    def _running(self, workers: list[Worker]) -> int:
        """How many of their children the store believes alive."""
        from django_jobqueue.models import WorkerProcess

        pids = [pid for worker in workers for pid in worker.children()]
        rows = WorkerProcess.objects.using(self.stage.database)
        return int(rows.filter(store=self.stage.queue.store, state="running", pid__in=pids).count())

    def forget(self) -> None:
        """What the jobs wrote down."""
        self.stage.ledger.unlink(missing_ok=True)

    def starts(self, name: str | None = None) -> list[Any]:
        return self.stage.lines("start", name)

    # -- a child -------------------------------------------------------------------------------------------------------

    def child(self, times: int) -> list[float]:
        found = []
        with self.workers(2) as crew:
            for n in range(times):
                self.forget()
                gate = self.ground.files / f"child{n}"
                gate.with_suffix(".2").touch()
                self.stage.push(self.tasks.gated_runs, f"job{n}", str(gate))
                [first] = wait_until(self.starts, "its start", PATIENCE)
                time.sleep(self.rng.uniform(0.0, 0.4))
                killed = time.monotonic()
                os.kill(first.pid, signal.SIGKILL)
                wait_until(lambda: len(self.starts()) == 2, "it runs again", PATIENCE)
                found.append(self.starts()[1].time - killed)
                wait_until(
                    lambda: self.stage.is_settled() and self._running(crew) == 2, "both are there again", PATIENCE
                )
        return found

    # -- a host --------------------------------------------------------------------------------------------------------

    def host(self, times: int) -> list[float]:
        found: list[float] = []
        while len(found) < times:
            found += self._lose_hosts(min(CROWD, times - len(found)), len(found))
        return found

    def _lose_hosts(self, count: int, number: int) -> list[float]:
        self.forget()
        gate = self.ground.files / f"host{number}"
        gate.with_suffix(".2").touch()
        with self.workers(*([1] * count), PREFETCH_MAX=1) as hosts:
            for n in range(count):
                self.stage.push(self.tasks.gated_runs, f"job{n}", str(gate))
            wait_until(lambda: len({line.pid for line in self.starts()}) == count, "each has one", PATIENCE)
            with self.workers(1, PREFETCH_MAX=1):
                killed = {line.name: self._lose(hosts, line.pid) for line in self.starts()}
                wait_until(lambda: len(self.starts()) == 2 * count, "all run again", PATIENCE)
                wait_until(self.stage.is_settled, "all are through", PATIENCE)
                return [self.starts(name)[1].time - moment for name, moment in killed.items()]

    def _lose(self, hosts: list[Worker], child: int) -> float:
        """Kill the command of this child, all of its processes; when."""
        time.sleep(self.rng.uniform(0.0, 1.0))
        host = next(one for one in hosts if child in one.children())
        moment = time.monotonic()
        for pid in (host.pid, *host.children()):
            os.kill(pid, signal.SIGKILL)
        host.process.wait()
        return moment

    # -- the store -----------------------------------------------------------------------------------------------------

    def store(self, times: int) -> list[float]:
        with self.workers(2):
            return [self._outage(n, is_idle=n % 2 == 1) for n in range(times)]

    def ticks(self, times: int) -> list[float]:
        ticking = Ticking(self.stage)
        found = [ticking.through(lambda: self._be_away(self.rng.uniform(1.0, LONGEST_OUTAGE))) for _ in range(times)]
        self.problems += ticking.end()
        return found

    def _outage(self, number: int, is_idle: bool) -> float:
        self.forget()
        if not is_idle:
            payloads = [(self.tasks.nap, f"job{number}.{n}", 20) for n in range(200)]
            for task, *args in payloads:
                self.stage.push(task, *args)
            wait_until(lambda: len(self.starts()) > 5, "they are at work", PATIENCE)
        back = self._be_away(self.rng.uniform(0.2, LONGEST_OUTAGE))
        if is_idle:
            self._push_somehow(f"job{number}")
        next_start = wait_until(lambda: next((one for one in self.starts() if one.time > back), None), "work", PATIENCE)
        self._wait_for_the_rest()
        return float(next_start.time - back)

    def _be_away(self, seconds: float) -> float:
        """The moment it is back."""
        from django.db import connections

        if self.stage.alias == "default":
            self.ground.store.hog(seconds)
            return time.monotonic()
        server = self.ground.store.server
        server.kill()
        time.sleep(seconds)
        server.start()
        back = time.monotonic()
        connections.close_all()
        return back

    def _push_somehow(self, name: str) -> None:
        from django.db import connections

        from django_jobqueue.exceptions import EnqueueError

        while True:
            try:
                self.stage.push(self.tasks.work, name)
                return
            except EnqueueError:
                connections.close_all()

    def _wait_for_the_rest(self) -> None:
        wait_until(self.stage.is_settled, "all are through", PATIENCE)


def run(given: argparse.Namespace) -> list[str]:
    problems = []
    with Ground(given.store, 30.0) as ground:
        trial = Trial(ground, given.seed)
        trial.stage.env["JOBQUEUE_TEST_LEASE"] = "30"
        parts: dict[str, tuple[str, Callable[[int], list[float]], int, float]] = {
            "child": ("a child is killed, its job runs again", trial.child, given.children, CHILD_SECONDS),
            "store": ("the store is back, the next job starts", trial.store, given.times, STORE_SECONDS),
            "ticks": ("the store is back, the next tick is a job", trial.ticks, given.times, STORE_SECONDS),
            "host": (
                f"a host is lost, its job runs again (lease {given.lease:g} s)",
                trial.host,
                given.times,
                given.lease + LEASE_AND,
            ),
        }
        for name in given.only.split(","):
            what, measure, times, most = parts[name]
            if name == "host":
                trial.stage.env["JOBQUEUE_TEST_LEASE"] = str(given.lease)
            figures = sorted(measure(times))
            for words, value in quantiles(what, figures).items():
                print(f"{given.store}: {words}: {value}; promised {most:g} s", flush=True)
            if figures[-1] > most:
                problems.append(f"{what}: {figures[-1]:.2f} s")
        trial.stage.close()
    return problems + trial.problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--children", type=int, default=100, help="Child processes to kill (default: %(default)s).")
    parser.add_argument("--times", type=int, default=20, help="Hosts to lose, and outages (default: %(default)s).")
    parser.add_argument("--lease", type=float, default=10.0, help="Of the hosts, in seconds (default: %(default)s).")
    parser.add_argument("--only", default="child,store,host,ticks", help="Some of %(default)s.")
    parser.add_argument("--seed", type=int, default=1)
    return each_store("tests.chaos.recovery", run, parser)


if __name__ == "__main__":
    sys.exit(main())
