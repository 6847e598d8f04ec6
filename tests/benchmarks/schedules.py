"""What a scheduler costs: `python -m tests.benchmarks.schedules [postgres|mariadb|default]`; five minutes each.

`due`: 10,000 schedules of the same second, until the last job is stored. `late`: 10,000 cron schedules over a minute,
how long after its tick each job was stored, by the store's clock. `idle`: a scheduler over 100,000 schedules that are
not due, as a share of one core. `memory`: what a scheduler needs more than the same process after Django's setup.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests import servers
from tests.benchmarks.clocks import of_process

MANY, STORED = 10_000, 100_000
IDLE_SECONDS, SPREAD_SECONDS = 40, 70
TASK = "tests.testapp.tasks.noop"


def main(alias: str) -> None:
    wanted = {alias} - {"default"}
    with tempfile.TemporaryDirectory() as directory, servers.running(wanted or {"postgres"}, durable=True) as found:
        os.environ.update(found.environment())
        os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.crash.settings", "JOBQUEUE_TEST_ALIAS": alias}
        os.environ["JOBQUEUE_TEST_DIR"] = directory
        import django

        django.setup()
        from django.db import connections

        name = connections[alias].creation.create_test_db(verbosity=0, autoclobber=True)
        os.environ["JOBQUEUE_TEST_DATABASE_NAMES"] = json.dumps({alias: str(name)})
        for measure in (due, late, idle, memory):
            print(f"{alias:9}{measure.__name__:8}", "  ".join(measure(alias)), flush=True)


def fill(alias: str, count: int, first: Any, **values: Any) -> None:
    """Schedules over nothing else. `first(n)`: the tick that is due next."""
    from django_jobqueue.models import Job, JobPriority, RecurringJob

    for model in (RecurringJob, Job, JobPriority):
        model.objects.using(alias).all().delete()
    rows = [
        RecurringJob(name=f"schedule {n}", task=TASK, backend=alias, next_run_at=first(n), due_at=first(n))
        for n in range(count)
    ]
    for n, row in enumerate(rows):
        row.changed_at = row.due_at
        for name, value in values.items():
            setattr(row, name, value(n))
    RecurringJob.objects.using(alias).bulk_create(rows, batch_size=1_000)


def due(alias: str) -> list[str]:
    from django_jobqueue.models import Job
    from django_jobqueue.scheduling.edits import store_now
    from django_jobqueue.scheduling.tick import tick

    seconds = []
    for _ in range(3):
        now = store_now(alias).replace(microsecond=0)
        second = now.minute * 60 + now.second
        fill(alias, MANY, lambda n: now, kind=cron, expression=lambda n: f"{second % 60} {second // 60} * * * *")  # noqa: B023
        begun = time.perf_counter()
        while tick(alias).outcomes:
            pass
        seconds.append(time.perf_counter() - begun)
        assert Job.objects.using(alias).count() == MANY
    return [f"{one:.2f} s" for one in seconds]


def late(alias: str) -> list[str]:
    from django_jobqueue.models import Job, RecurringJob
    from django_jobqueue.scheduling.edits import plan, store_now
    from django_jobqueue.scheduling.ticks import tick_id

    now = store_now(alias) + timedelta(seconds=20)
    fill(alias, MANY, lambda n: None, kind=cron, expression=lambda n: f"{n % 60} * * * * *")
    rows = list(RecurringJob.objects.using(alias))
    for row in rows:
        plan(row, now)
    RecurringJob.objects.using(alias).bulk_update(rows, ["next_run_at", "due_at", "changed_at"], batch_size=1_000)
    planned = {tick_id(row.name, row.next_run_at): row.next_run_at for row in rows}
    with scheduler(alias):
        time.sleep(max(0.0, (now - store_now(alias)).total_seconds()) + SPREAD_SECONDS)
    stored = dict(Job.objects.using(alias).values_list("pk", "created_at"))
    found = sorted((stored[job_id] - tick).total_seconds() * 1_000 for job_id, tick in planned.items())
    return [
        f"p50 {found[len(found) // 2]:.0f} ms",
        f"p99 {found[len(found) * 99 // 100]:.0f} ms",
        f"max {found[-1]:.0f} ms",
    ]


def idle(alias: str) -> list[str]:
    from django_jobqueue.scheduling.edits import store_now

    now = store_now(alias)
    fill(
        alias,
        STORED,
        lambda n: now + timedelta(days=1, seconds=n),
        kind=lambda n: "interval",
        expression=lambda n: "1 day",
    )
    with scheduler(alias) as process:
        time.sleep(15)  # its start
        before = of_process(process.pid)
        time.sleep(IDLE_SECONDS)
        spent = of_process(process.pid) - before
    return [f"{spent / IDLE_SECONDS:.2%} of a core with {STORED:,} schedules"]


def memory(alias: str) -> list[str]:
    from django_jobqueue.scheduling.edits import store_now

    bare = [sys.executable, "-c", "import django, time; django.setup(); print(flush=True); time.sleep(60)"]
    with subprocess.Popen(bare, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        baseline = rss(process.pid)
        process.kill()
    now = store_now(alias)
    fill(alias, MANY, lambda n: now, kind=cron, expression=lambda n: f"{n % 60} {n // 60 % 60} * * * *")
    with scheduler(alias) as process:
        time.sleep(40)
        return [
            f"{(rss(process.pid) - baseline) / 1_024:.0f} MiB over {baseline / 1_024:.0f} MiB, after {MANY:,} ticks"
        ]


def cron(n: int) -> str:
    return "cron"


@contextmanager
def scheduler(alias: str) -> Iterator[subprocess.Popen[bytes]]:
    """`scheduler_run` beside us."""
    command = [sys.executable, "-m", "django", "scheduler_run", "--backend", alias]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def rss(pid: int) -> float:
    """KiB in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1_024


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "postgres")
