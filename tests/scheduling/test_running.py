"""`scheduler_run`, and `queue_work` with a scheduler in it: real processes, from a declaration to a job."""

from __future__ import annotations

import time

import pytest

from django_jobqueue.jobs.schedule import every
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits, register
from django_jobqueue.scheduling.scheduler import JOIN_SECONDS
from tests.crash.fixtures import POSTGRES, REDIS, SQLITE
from tests.crash.processes import terminate
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
on_sqlite = pytest.mark.parametrize("alias", [SQLITE])
on_postgres = pytest.mark.parametrize("alias", [POSTGRES])
on_both = pytest.mark.parametrize("alias", [SQLITE, REDIS])


def make(stage, name="s", schedule=None, **values):
    """A schedule of this stage, each second if nothing else is said, whose jobs leave a line."""
    when = schedule or every(seconds=1)
    row = RecurringJob(name=name, task="tests.crash.tasks.work", kind=when.kind, expression=when.expression, **values)
    row.args, row.backend, row.timezone = f'{{"args":["{name}"],"kwargs":{{}}}}', stage.alias, when.timezone
    edits.plan(row, edits.store_now(stage.database))
    row.save(using=stage.database)
    return row


def schedulers(stage):
    return len(register.alive(stage.database))


@on_both
def test_from_the_settings_to_a_job_that_has_run_and_an_end_within_a_second(open_stage, alias):
    stage = open_stage()
    entry = {"task": "tests.crash.tasks.work", "schedule": "0 0 1 1 *", "timezone": "UTC", "args": ["declared"]}
    entry["backend"] = alias
    scheduler = stage.start("django", "scheduler_run", "--backend", alias, conf={"SCHEDULES": {"s": entry}})
    stage.worker("--no-scheduler")
    rows = RecurringJob.objects.using(stage.database).filter(name="s")
    wait_until(rows.exists, "it is in the table")
    rows.update(next_run_at=edits.store_now(stage.database), due_at=edits.store_now(stage.database))
    stage.wait_for("end", "declared")
    row = rows.get()
    assert (row.source, row.failures) == ("code", 0)
    assert schedulers(stage) == 1
    began = time.monotonic()
    code, out, err = terminate(scheduler)
    assert time.monotonic() - began < JOIN_SECONDS  # it waited for nothing; one, where nothing else runs
    assert (code, err) == (0, "")
    assert out.startswith(f"{stage.database}: ")
    assert schedulers(stage) == 0


@on_sqlite
def test_on_sqlite_the_worker_schedules_too(open_stage, alias):
    stage = open_stage()
    make(stage)
    worker = stage.worker("--processes", "2")
    stage.wait_for("end", "s", count=2)
    assert schedulers(stage) == 1
    assert terminate(worker)[0] == 0
    assert schedulers(stage) == 0


@on_postgres
def test_elsewhere_only_when_it_is_asked_for(open_stage, alias):
    stage = open_stage()
    make(stage)
    plain, asked = stage.worker("--processes", "1"), stage.worker("--processes", "1", "--with-scheduler")
    stage.wait_for("end", "s", count=2)
    assert schedulers(stage) == 1
    assert [terminate(worker)[0] for worker in (plain, asked)] == [0, 0]
