"""Ticks through an outage: a real scheduler whose store goes away and comes back. Each tick is one job."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.waiting import wait_until

SCHEDULES = 5
PATIENCE = 120.0


class Ticking:
    """A few schedules with a tick each second, and the command that serves them.

    Those of a Redis store are in a database that stays: their ticks go on, and their jobs wait in its outbox.
    """

    def __init__(self, stage: Any) -> None:
        from django_jobqueue.models import RecurringJob

        self.stage = stage
        self.rows = RecurringJob.objects.using(stage.database).filter(name__startswith="s")
        self._make(RecurringJob)
        self.process = stage.start("django", "scheduler_run", "--backend", stage.alias)
        wait_until(self._jobs, "it ticks", PATIENCE)

    def through(self, outage: Callable[[], float]) -> float:
        """Seconds from the return of the store, which `outage` gives, to the next tick that is a job there."""
        back = outage()
        before = self._jobs()
        wait_until(lambda: self._jobs() > before, "it goes on", PATIENCE)
        return time.monotonic() - back

    def end(self) -> list[str]:
        """Stop; what is wrong with the jobs there are, in words."""
        from django_jobqueue.scheduling import edits

        edits.pause(self.stage.database, *self.rows.values_list("pk", flat=True))
        wait_until(self._is_at_rest, "the last jobs are there", PATIENCE)
        self.process.kill()
        found = Counter(job_id for job_id, _ in self.stage.waiting())
        wanted = self._wanted()
        lost, more = wanted - found.keys(), found - Counter(wanted)
        problems = [f"{len(lost)} of {len(wanted)} ticks are no job"] if lost else []
        return problems + ([f"{more.total()} jobs are of no tick, or a second one"] if more else [])

    def _make(self, model: Any) -> None:
        from django_jobqueue.scheduling import edits

        now = edits.store_now(self.stage.database).replace(microsecond=0)
        for n in range(SCHEDULES):
            row = model(name=f"s{n}", task="tests.crash.tasks.work", kind="interval", expression="1 second")
            row.backend, row.misfire, row.grace = self.stage.alias, "all", 3_600.0
            edits.plan(row, now)
            row.save(using=self.stage.database)
        self.start = now + timedelta(seconds=1)

    def _wanted(self) -> set[Any]:
        """Each second of each schedule, from its first tick to its last."""
        from django_jobqueue.scheduling.ticks import tick_id

        wanted = set()
        for name, last in self.rows.values_list("name", "last_run_at"):
            seconds = (last - self.start) // timedelta(seconds=1) + 1
            wanted |= {tick_id(name, self.start + timedelta(seconds=n)) for n in range(seconds)}
        return wanted

    def _jobs(self) -> int:
        assert self.process.poll() is None, "the scheduler has ended, and would have to be started again"
        return len(self.stage.waiting())

    def _is_at_rest(self) -> bool:
        """Nothing waits in the database for its way to another store, as it does until a worker or a chore comes by."""
        self.stage.queue.relay()
        return not hasattr(self.stage, "outbox") or self.stage.outbox() == 0
