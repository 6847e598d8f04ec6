"""One run, from an empty store to the verdict. Imported by the process of one run only: it sets up Django for it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tests.chaos import stores
from tests.chaos.log import LOG
from tests.chaos.plan import AT_LEAST, Plan
from tests.servers.rooms import make_directory

STANDSTILL_SECONDS = 60.0
"""After the last fault: how long the number of jobs that are left may stay the same."""
GRACE = 30.0


class Run:
    def __init__(self, plan: Plan, keep: bool) -> None:
        self.plan = plan
        self.keep = keep
        self.directory = make_directory()
        self.files = self.directory / "files"
        self.problems: list[str] = []
        self.faults_took = self.pushes_took = self.settled_after = 0.0

    def __enter__(self) -> Run:
        os.environ["JOBQUEUE_TEST_DIR"] = str(self.files)
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.chaos.settings"
        os.environ["JOBQUEUE_TEST_LEASE"] = str(self.plan.lease)
        self.store = stores.KINDS[self.plan.store](self.directory)
        os.environ["JOBQUEUE_TEST_ALIAS"] = self.store.alias
        self.store.start()
        self.store.publish()
        return self

    def __exit__(self, *_: object) -> None:
        self.store.stop()
        if self.keep:
            print(f"kept: {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __call__(self) -> dict[str, Any]:
        """The report: figures, what should be zero, and `problems`, empty when all is well."""
        import django

        django.setup()
        from tests.chaos import checker
        from tests.chaos.books import Books
        from tests.chaos.models import Effect
        from tests.chaos.nemesis import Nemesis

        stage, begun = self._open_stage(), time.monotonic()
        crew = self._crew(stage)
        nemesis = Nemesis(self.plan, self.store, crew, self.log, self.files / "nemesis.json", self.over)
        try:
            crew.start()
            nemesis.run(self._say)
            self.faults_took = time.monotonic() - begun
            self._wait_for_the_end(crew, stage)
            crew.dismiss(GRACE)
        finally:
            crew.destroy()
        self._check_rooms(stage)
        books = Books()
        for producer in crew.producers:
            books.read_ledger(producer.ledger)
        books.read_nemesis(nemesis._record)
        books.log = books.log.read(self.log)
        books.read_store(stage, Effect.objects.using(stage.database).values_list("job_id", "lease_no"))
        verdict = checker.check(books, self.plan.lease, 3)
        back, again = checker.recoveries(books)
        report = {
            "store": self.plan.store,
            "seed": self.plan.seed,
            "seconds": round(time.monotonic() - begun, 1),
            "landed": dict(nemesis.landed),
            "zeros": {what: verdict.zeros[what] for what in checker.ZEROS},
            "samples": verdict.samples,
            "figures": verdict.figures
            | {
                "took": f"{self.faults_took:.0f} s for the faults, then {self.pushes_took:.1f} s for the last pushes, "
                f"then {self.settled_after:.1f} s until all was settled"
            }
            | quantiles("in the line again after SIGKILL", back)
            | quantiles("running again after SIGKILL", again)
            | quantiles("work again after an outage", checker.resumptions(books, nemesis.outages)),
        }
        report["problems"] = [*crew.problems, *self.problems, *self._judge(report)]
        return report

    @property
    def log(self) -> Path:
        return self.files / "log"

    @property
    def over(self) -> Path:
        """The file that says that there are no more faults."""
        return self.files / "over"

    def _say(self, words: str) -> None:
        print(f"{self.plan.store}: {words}", file=sys.stderr, flush=True)

    def _open_stage(self) -> Any:
        from django.db import connections

        from tests.crash.processes import Stage
        from tests.crash.redis_stage import RedisStage

        aliases = ["default"] if self.store.alias == "redis" else sorted({"default", self.store.alias})
        names = {alias: connections[alias].creation.create_test_db(verbosity=0) for alias in aliases}
        os.environ["JOBQUEUE_TEST_SQLITE"] = names["default"]
        env = os.environ | {
            "JOBQUEUE_TEST_DATABASE_NAMES": json.dumps(names),
            "JOBQUEUE_CHAOS_SEED": str(self.plan.seed),
        }
        if self.store.alias == "redis":
            stage: Any = RedisStage("redis", self.files, env, self.plan.lease, self.store.server.url)
        else:
            stage = Stage(self.store.alias, self.files, env, self.plan.lease)
        stage.env |= self.store.child_env() | {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", LOG: str(self.log)}
        return stage

    def _crew(self, stage: Any) -> Any:
        from tests.chaos.crew import Crew, Producer, Worker

        plan, alias = self.plan, self.store.alias
        env = stage.env | {"JOBQUEUE_TEST_CONF": json.dumps({"SHUTDOWN_GRACE": 5})}
        share, over = -(-plan.jobs // plan.producers), self.over
        return Crew(
            [Worker(f"worker{n}", self.files, env, alias, count) for n, count in enumerate(plan.workers)],
            [Producer(f"producer{n}", self.files, env, alias, share, plan.rate, over) for n in range(plan.producers)],
        )

    def _wait_for_the_end(self, crew: Any, stage: Any) -> None:
        from django.db import connections

        connections.close_all()  # the nemesis has not spared ours
        begun = time.monotonic()
        while crew.is_producing:
            time.sleep(0.05)
        self.pushes_took = time.monotonic() - begun
        begun = moved = time.monotonic()
        left = stage.live()
        while left:
            time.sleep(0.05)
            before, left = left, stage.live()
            now = time.monotonic()
            self.settled_after, moved = now - begun, now if left < before else moved
            if now - moved > STANDSTILL_SECONDS:
                self.problems.append(f"{left} jobs are left, and none has ended for {STANDSTILL_SECONDS:.0f} s")
                return

    def _check_rooms(self, stage: Any) -> None:
        from django_jobqueue.monitoring.fsck import check

        self.problems += [f"fsck: {finding}" for finding in check(stage.queue, late=5.0, patience=1.0).findings]
        if leases := stage.leases():
            self.problems.append(f"{leases} leases are held though all workers have signed off")
        if alive := stage.workers("running", "stopping"):
            self.problems.append(f"{alive} workers are believed alive")

    def _judge(self, report: dict[str, Any]) -> list[str]:
        """What was not zero; and what did not happen, for then the zeros mean nothing."""
        landed, figures = report["landed"], report["figures"]
        found = [f"{what}: {count}" for what, count in report["zeros"].items() if count]
        found += [
            f"only {landed.get(kind, 0)} faults of kind {kind} have landed"
            for kind in sorted(set(self.plan.schedule()))
            if landed.get(kind, 0) < AT_LEAST
        ]
        if sum(landed.values()) < 0.9 * self.plan.faults:
            found.append(f"only {sum(landed.values())} of {self.plan.faults} faults have landed")
        if not figures["atomic jobs completed, with one effect each"] and self.plan.store != "redis":
            found.append("no atomic job has completed: nothing was proved")
        found += [
            f"no {what}: nothing was proved"
            for what in ("executions lost", "stale settlements refused", "jobs acknowledged")
            if not figures[what]
        ]
        return found


def quantiles(what: str, values: list[float]) -> dict[str, Any]:
    if not values:
        return {what: "none"}
    p50, p99 = values[len(values) // 2], values[min(len(values) - 1, int(len(values) * 0.99))]
    return {what: f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {values[-1]:.2f} s ({len(values)})"}
