"""P7: a scheduler dies, freezes, or hears nothing from its store, at each point of a tick: there is one job of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from django.db import connections

from django_jobqueue import failpoints
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.tick import tick
from django_jobqueue.scheduling.ticks import tick_id
from tests import proc
from tests.crash.cases import STORES
from tests.waiting import wait_until

POINTS = ["tick.taken", "tick.pushed", "tick.before_commit", "tick.committed"]
on_stores = pytest.mark.parametrize("alias", STORES)


class Troupe:
    """A store with one schedule, and schedulers that break."""

    def __init__(self, stage):
        self.stage = stage
        self.database = stage.database
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.schedulers", stage.database],
            env=stage.env | {"JOBQUEUE_TEST_CONF": "{}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def close(self):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def due(self, name):
        """A schedule that is due now, and not again for long."""
        row = RecurringJob(name=name, task="tests.crash.tasks.work", kind="interval", expression="5000 weeks")
        edits.plan(row, edits.store_now(self.database))
        row.backend, row.args = self.stage.alias, f'{{"args":["{name}"],"kwargs":{{}}}}'
        row.next_run_at = row.due_at = row.changed_at
        row.save(using=self.database)
        return tick_id(name, row.changed_at)

    def play(self, failpoint):
        self.process.stdin.write(f"{failpoint}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def is_decided(self, name):
        return RecurringJob.objects.using(self.database).get(name=name).last_run_at is not None

    def jobs(self):
        """One whose scheduler was killed while it was on its way to Redis is here and there until it is relayed."""
        self.stage.queue.relay()
        return self.stage.queue.size()


@pytest.fixture
def troupe(open_stage, alias):
    one = Troupe(open_stage())
    yield one
    one.close()


def test_every_point_of_a_tick_is_tried():
    assert {point for point in failpoints.POINTS if point.startswith("tick.")} == set(POINTS)


@on_stores
def test_killed_at_any_point(troupe):
    for count, point in enumerate(POINTS, 1):
        job_id = troupe.due(point)
        pid = troupe.play(f"{point}:kill")
        wait_until(lambda: not proc.state(pid), f"it dies at {point}")  # noqa: B023
        was_stored = point == "tick.committed"
        assert troupe.is_decided(point) is was_stored
        assert (troupe.stage.queue.find(job_id) is not None) is was_stored
        tick(troupe.database)
        assert troupe.is_decided(point)
        assert troupe.stage.queue.find(job_id) is not None
        assert troupe.jobs() == count, "one job, whoever made it"


@on_stores
def test_frozen_at_any_point(troupe):
    """PostgreSQL and MariaDB give a frozen transaction up, and others go on; on SQLite they can't."""
    for count, point in enumerate(POINTS, 1):
        job_id = troupe.due(point)
        pid = troupe.play(f"{point}:stop")
        wait_until(lambda: proc.state(pid) == "T", f"it freezes at {point}")  # noqa: B023
        if connections[troupe.database].vendor != "sqlite":
            wait_until(lambda: tick(troupe.database) and troupe.is_decided(point), "the row comes free")  # noqa: B023
            assert troupe.stage.queue.find(job_id) is not None
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: troupe.is_decided(point), "it was done")  # noqa: B023
        later = troupe.due(f"{point}-later")  # it lives, and works again
        wait_until(lambda: troupe.is_decided(f"{point}-later"), "the next one, too")  # noqa: B023
        os.kill(pid, signal.SIGKILL)
        assert troupe.stage.queue.find(job_id) is not None
        assert troupe.stage.queue.find(later) is not None
        wait_until(lambda: troupe.jobs() == 2 * count, f"two for each of {count}")  # noqa: B023


@on_stores
def test_the_store_does_not_answer_at_any_point(troupe):
    for count, point in enumerate(POINTS, 1):
        job_id = troupe.due(point)
        pid = troupe.play(f"{point}:error")
        wait_until(lambda: troupe.is_decided(point), "it tries again")  # noqa: B023
        os.kill(pid, signal.SIGKILL)
        assert troupe.stage.queue.find(job_id) is not None
        wait_until(lambda: troupe.jobs() == count, f"one for each of {count}")  # noqa: B023
