"""P7: one job per (schedule, tick), with many schedulers that are killed and frozen at random.

A short run in CI; ten schedulers, 10,000 ticks, 100 kills and 50 freezes on every store with `make ticks`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

import pytest

from django_jobqueue.jobs.schedule import every
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.ticks import tick_id
from tests import proc
from tests.crash.fixtures import MARIADB, POSTGRES, REDIS, SQLITE, alias, open_stage
from tests.waiting import wait_until

__all__ = ["alias", "open_stage"]


class Plan(NamedTuple):
    schedulers: int
    schedules: int
    seconds: int
    kills: int
    freezes: int
    longest_freeze: float


IS_LONG = "JOBQUEUE_TICKS" in os.environ
SHORT = Plan(schedulers=3, schedules=20, seconds=6, kills=4, freezes=2, longest_freeze=1.0)
LONG = Plan(schedulers=10, schedules=100, seconds=100, kills=100, freezes=50, longest_freeze=12.0)
PLAN = LONG if IS_LONG else SHORT
STORES = [SQLITE, POSTGRES, MARIADB, REDIS] if IS_LONG else [POSTGRES, REDIS]


def make_schedules(stage, plan):
    """One tick each second, from soon on. Nobody may be too late for one. Gives the ids of all jobs there should be."""
    start = edits.store_now(stage.database).replace(microsecond=0) + timedelta(seconds=3)
    end = start + timedelta(seconds=plan.seconds - 1)
    rows = []
    for n in range(plan.schedules):
        row = RecurringJob(name=f"s{n}", task="tests.testapp.tasks.noop", kind="interval", expression="1 second")
        row.backend, row.starts_at, row.ends_at, row.grace, row.misfire = stage.alias, start, end, 3_600.0, "all"
        edits.plan(row, start - timedelta(seconds=1))
        rows.append(row)
    RecurringJob.objects.using(stage.database).bulk_create(rows)
    ticks = [start + timedelta(seconds=n) for n in range(plan.seconds)]
    assert every(seconds=1).next_after(start - timedelta(seconds=1)) == start
    return {tick_id(row.name, tick) for row in rows for tick in ticks}


def torment(crew, plan, seed):
    """Kills and freezes in a random order, spread over the time there are ticks."""
    rng, frozen = random.Random(seed), []
    faults = ["kill"] * plan.kills + ["freeze"] * plan.freezes
    rng.shuffle(faults)
    done = Counter()
    for fault in faults:
        until = time.monotonic() + plan.seconds / len(faults)
        wait_until(lambda: time.monotonic() > until, seconds=60)  # noqa: B023
        wait_until(lambda: len(proc.children(crew.pid)) == plan.schedulers, "all are there")
        for moment, pid in [one for one in frozen if one[0] <= time.monotonic()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            frozen.remove((moment, pid))
        asleep = {pid for _, pid in frozen}
        victim = rng.choice([pid for pid in proc.children(crew.pid) if pid not in asleep] or proc.children(crew.pid))
        os.kill(victim, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
        if fault == "freeze":
            frozen.append((time.monotonic() + rng.uniform(0.2, plan.longest_freeze), victim))
        done[fault] += 1
    for _, pid in frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return done


@pytest.mark.parametrize("alias", STORES)
def test_many_schedulers_make_one_job_of_each_tick_p7(open_stage, alias):
    stage, plan = open_stage(), PLAN
    if IS_LONG and alias == "default":
        plan = plan._replace(longest_freeze=3.0)  # a writer that is frozen holds SQLite's only lock, and all wait
    crew = stage.start("tests.chaos.schedulers", stage.database, str(plan.schedulers), new_session=True)
    stage.worker("--no-scheduler", "--threads", "2")
    wait_until(lambda: len(proc.children(crew.pid)) == plan.schedulers, "all are there", 60)
    wanted = make_schedules(stage, plan)
    assert torment(crew, plan, alias) == {"kill": plan.kills, "freeze": plan.freezes}
    due = RecurringJob.objects.using(stage.database).filter(due_at__isnull=False)
    wait_until(lambda: not due.exists(), "every tick was decided on", 120)
    wait_until(lambda: stage.live() == 0 and stage.history().count() >= len(wanted), "every job has run", 240)
    runs = Counter(stage.history().filter(outcome="completed").values_list("job_id", flat=True))
    assert set(runs.values()) == {1}
    assert runs.keys() == wanted
    assert not stage.dead()
    print(f"{alias}: {len(wanted):,} ticks, {len(runs):,} jobs, {plan.kills} kills, {plan.freezes} freezes")
