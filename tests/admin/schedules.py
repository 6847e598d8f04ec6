"""Schedules for tests, and what is left of their ticks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.test import Client

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.schedule import Schedule, every
from django_jobqueue.models import JobHistory, RecurringJob
from django_jobqueue.scheduling.edits import plan, store_now
from django_jobqueue.scheduling.ticks import tick_id
from tests.admin.conftest import url
from tests.lifecycle.letters import ADD

LIST = "recurringjob"
PERMISSIONS = {
    "pause": "pause_recurringjob",
    "resume": "pause_recurringjob",
    "remove": "delete_recurringjob",
    "run": "trigger_recurringjob",
    "edit": "change_recurringjob",
    "add": "add_recurringjob",
}
"""What each page asks of who opens it."""

FORM = {
    **{"name": "nightly", "task": ADD, "args": "[1, 2]", "kwargs": "", "kind": "cron", "expression": "0 3 * * *"},
    **{"timezone": "Europe/Berlin", "starts_at": "", "ends_at": "", "backend": "default", "queue": "", "priority": ""},
    **{"misfire": "once", "misfire_limit": "10", "grace": "60", "overlap": "allow", "jitter": "0", "enabled": "on"},
}
"""What a browser sends of the form of a new schedule."""


def make(name: str = "hourly", schedule: Schedule | None = None, **columns: Any) -> RecurringJob:
    when = schedule or every(hours=1)
    row = RecurringJob(
        name=name,
        kind=when.kind,
        expression=when.expression,
        timezone=when.timezone,
        **{"task": ADD, "args": encode_call([1, 2], {}), **columns},
    )
    plan(row, store_now("default"))
    for column, value in columns.items():  # a new plan begins without failures
        setattr(row, column, value)
    row.save()
    return row


def sent(row: RecurringJob | None = None, **changes: Any) -> dict[str, Any]:
    """The form as it is sent; of a row, as its page showed it."""
    form = {**FORM}
    if row is not None:
        plain = ("name", "task", "kind", "expression", "timezone", "backend", "queue", "misfire", "overlap")
        form |= {name: getattr(row, name) for name in plain}
        form |= {"seen": str(row.changed_at), "enabled": "on" if row.enabled else ""}
    return {**form, **changes}


def leave(row: RecurringJob, outcomes: list[str], **fields: Any) -> None:
    """History of the last ticks, the latest last; "" leaves none. The row has dispatched them."""
    when = every(hours=1)
    tick = when.last_until(store_now("default"))
    row.last_run_at = as_django_tells_it(tick)
    row.save()
    for outcome in reversed(outcomes):
        begin, end = as_django_tells_it(tick), as_django_tells_it(tick + timedelta(seconds=2))
        times = {"enqueued_at": begin, "started_at": begin, "finished_at": end}
        values = {"queue": "default", "task": row.task, "lease_no": 1, "attempt": 1, "run_ms": 2_000, **times, **fields}
        if outcome:
            JobHistory.objects.create(job_id=tick_id(row.name, tick), outcome=outcome, **values)
        tick = when.last_until(tick - timedelta.resolution)


def fresh(row: RecurringJob) -> RecurringJob:
    return RecurringJob.objects.get(pk=row.pk)


def rows_of(client: Client, query: str = "") -> list[str]:
    """The names in the list, as it is shown."""
    return [row.name for row in client.get(f"{url(LIST)}?{query}").context["cl"].result_list]


def run_page(row: RecurringJob) -> str:
    return url(LIST, "run", row.pk)
