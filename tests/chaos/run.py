"""One run, from an empty store to the verdict. Imported by the process of one run only: it sets up Django for it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.chaos.ground import Ground, quantiles
from tests.chaos.log import LOG
from tests.chaos.plan import AT_LEAST, Plan

STANDSTILL_SECONDS = 60.0
"""After the last fault: how long the number of jobs that are left may stay the same."""
GRACE = 30.0


class Run:
    def __init__(self, plan: Plan, keep: bool) -> None:
        self.plan = plan
        self.ground = Ground(plan.store, plan.lease, keep)
        self.store, self.files = self.ground.store, self.ground.files
        self.problems: list[str] = []
        self.faults_took = self.pushes_took = self.settled_after = 0.0

    def __enter__(self) -> Run:
        self.ground.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.ground.__exit__()

    def __call__(self) -> dict[str, Any]:
        """The report: figures, what should be zero, and `problems`, empty when all is well."""
        stage, begun = self.ground.open_stage(), time.monotonic()
        stage.env |= self.store.child_env() | {LOG: str(self.log), "JOBQUEUE_CHAOS_SEED": str(self.plan.seed)}
        from tests.chaos import checker
        from tests.chaos.books import Books
        from tests.chaos.models import Effect
        from tests.chaos.nemesis import Nemesis

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
