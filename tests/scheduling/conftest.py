"""Fixtures of the tests of the scheduler: a database, rows in it, and ticks at moments of the test's own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from django_jobqueue.jobs.schedule import every
from django_jobqueue.models import DelayedJob, Job, RecurringJob
from django_jobqueue.scheduling import chores, housekeeping
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.chores import Chore
from django_jobqueue.scheduling.edits import plan
from django_jobqueue.scheduling.tick import tick
from tests.crash.fixtures import alias, open_stage
from tests.waiting import wait_until

__all__ = ["alias", "open_stage"]

SECOND = timedelta(seconds=1)
EIGHT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""A moment long ago, so that nothing here is early by the store's own clock."""


class Rows:
    """The schedules of one database, made at a moment and looked at later."""

    def __init__(self, database: str) -> None:
        self.database = database

    def make(self, name: str = "hourly", schedule: Any = None, at: datetime = EIGHT, **values: Any) -> RecurringJob:
        """A schedule that was made at `at`; each hour, if nothing else is said."""
        when = schedule or every(hours=1)
        fields = {"kind": when.kind, "expression": when.expression, "timezone": when.timezone, "backend": self.database}
        row = RecurringJob(**{"name": name, "task": "tests.testapp.tasks.noop", **fields, **values})
        plan(row, at)
        row.save(using=self.database)
        return row

    def get(self, name: str = "hourly") -> RecurringJob:
        return RecurringJob.objects.using(self.database).get(name=name)

    def tick(self, moment: datetime, **options: Any) -> Any:
        return tick(self.database, now=moment, **options)

    def tick_all(self, moment: datetime) -> list[Any]:
        outcomes: list[Any] = []
        while more := self.tick(moment).outcomes:
            outcomes += more
        return outcomes

    def jobs(self) -> list[Job]:
        return list(Job.objects.using(self.database).order_by("created_at", "pk"))

    def due_jobs(self) -> dict[Any, datetime]:
        return dict(DelayedJob.objects.using(self.database).values_list("job_id", "due_at"))


def _on(alias: str) -> Any:
    return pytest.param(alias, marks=pytest.mark.django_db(databases=sorted({"default", alias})))


on_all = pytest.mark.parametrize("database", [_on("default"), _on("postgres"), _on("mariadb")])


@pytest.fixture
def database() -> str:
    return "default"


@pytest.fixture
def rows(db: None, database: str) -> Rows:
    return Rows(database)


def hours(count: float) -> datetime:
    return EIGHT + timedelta(hours=count)


def only_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the chores that the documentation adds, when its code has run in this process."""
    known = chores._registered.items()
    built_in = {name: one for name, one in known if one.work.__module__ == housekeeping.__name__}
    monkeypatch.setattr(chores, "_registered", built_in)


@pytest.fixture
def no_other_chores(settings, monkeypatch):
    """None of the documentation's, and none for a Redis."""
    only_built_in(monkeypatch)
    settings.TASKS = {alias: one for alias, one in settings.TASKS.items() if one["BACKEND"].endswith("DatabaseBackend")}


@pytest.fixture
def own(monkeypatch):
    """The chores of a test, in place of all others."""
    monkeypatch.setattr(chores, "_registered", {})

    def add(name, work, limit=60.0, schedule=None):
        chores.add(Chore(name, schedule or every(hours=1), work, limit))

    return SimpleNamespace(add=add)


@pytest.fixture
def runner():
    made = []

    def make(database="default"):
        made.append(ChoreRunner(database))
        made[-1].sync()
        return made[-1]

    yield make
    for one in made:
        one.stop()
        wait_until(lambda one=one: not one._running)


@pytest.fixture
def gate():
    """What a chore waits for that hangs. To be asked for after the runner, which waits for its chores at the end."""
    event = threading.Event()
    yield event
    event.set()
