"""Schedules in code: what may be declared, what `manage.py check` says of the rest, and how they become rows."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobqueue import Job, at, cron, every, manual, task
from django_jobqueue.compat import InvalidTask
from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs import registry
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.declared import declared, declared_from
from django_jobqueue.scheduling.sync import sync
from tests.scheduling.conftest import _on as on
from tests.scheduling.conftest import hours, on_all
from tests.testapp.tasks import add, noop

NOOP = "tests.testapp.tasks.noop"


class Ping(Job, queue_name="pings", name="ping"):
    number: int
    day: datetime

    def handle(self, context):
        pass


@pytest.fixture
def code(settings, monkeypatch):
    """`code(name=entry, …)`: what the settings declare from here on."""
    plain = {name: one for name, one in registry._definitions.items() if not getattr(one.task, "schedule", None)}
    monkeypatch.setattr(registry, "_definitions", plain)

    def declare(**entries):
        settings.JOBQUEUE = {"SCHEDULES": entries}
        return sync("default") if "db" in declare.also else None

    declare.also = set()
    return declare


@pytest.fixture
def deploy(code, db):
    """The same, and a scheduler starts."""
    code.also.add("db")
    return code


def errors():
    return [f"{one.id[-4:]} {one.msg}" for one in run_checks(tags=["jobqueue"]) if one.id.startswith("jobqueue.E03")]


def row(name="s"):
    return RecurringJob.objects.get(name=name)


# what may be declared


def test_an_entry_of_the_settings(code):
    code(
        nightly={
            "task": NOOP,
            "schedule": cron("0 3 * * *", timezone="Europe/Berlin"),
            "kwargs": {"value": 3},
            "queue": "reports",
            "priority": "high",
            "misfire": "all",
            "overlap": "queue",
            "jitter": 30,
            "starts_at": datetime(2027, 1, 1, tzinfo=UTC),
        }
    )
    found = declared()
    assert (found.problems, found.doubled, errors()) == ([], [], [])
    made = found.good["nightly"]
    assert (made.task, made.queue, made.priority, made.misfire, made.overlap) == (NOOP, "reports", 50, "all", "queue")
    assert decode_call(made.args) == ([], {"value": 3})
    assert made.schedule == cron("0 3 * * *", timezone="Europe/Berlin")


def test_text_is_a_cron_expression(code, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    code(s={"task": noop, "schedule": "0 3 * * *"}, t={"task": noop, "schedule": "@daily", "timezone": "UTC"})
    found = declared().good
    assert (found["s"].schedule.timezone, found["t"].schedule.timezone) == ("Asia/Tokyo", "UTC")


def test_a_task_declares_itself(code):
    task(noop.func, schedule=every(minutes=5), name="billing.tick")
    when = {"schedule": cron("0 8 * * *", timezone="UTC"), "kwargs": {"value": 1}, "misfire": "skip"}
    task(noop.func, schedule=when, name="b")
    found = declared().good
    assert found["billing.tick"].schedule == every(minutes=5)
    assert (found["b"].misfire, decode_call(found["b"].args)) == ("skip", ([], {"value": 1}))


def test_a_module_of_an_app_declares(code, monkeypatch):
    module = SimpleNamespace(SCHEDULES={"s": {"task": add, "args": [1, 2], "schedule": every(hours=1)}})
    monkeypatch.setitem(sys.modules, "tests.testapp.schedules", module)
    assert decode_call(declared().good["s"].args) == ([1, 2], {})
    module.SCHEDULES = ["s"]
    assert errors() == [
        "E030 tests.testapp.schedules.SCHEDULES must be a dictionary by the names of schedules, not list."
    ]


def test_a_typed_job_brings_its_arguments(code):
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    code(s={"task": Ping(number=3, day=moment), "schedule": every(hours=1)})
    made = declared().good["s"]
    assert decode_call(made.args) == ([], {"number": 3, "day": moment.isoformat()})
    assert (made.task, made.queue) == ("ping", "")


def test_a_task_with_other_values_keeps_those_a_schedule_can_hold(code):
    code(s={"task": noop.using(queue_name="slow", priority=-5), "schedule": manual()})
    made = declared().good["s"]
    assert (made.queue, made.priority) == ("slow", -5)
    code(s={"task": noop.using(timeout=3), "schedule": manual()})
    assert "can't change timeout of its task" in errors()[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (5, "write a dictionary with 'task' and 'schedule', not 5."),
        ({"schedule": every(hours=1)}, "'task' must be a task or the name of one, not None."),
        ({"task": NOOP}, "'schedule' must be cron(…), every(…), at(…), manual() or the text of a cron expression"),
        ({"task": "shop.tasks.gone", "schedule": every(hours=1)}, "no task is registered as 'shop.tasks.gone'"),
        ({"task": NOOP, "schedule": "61 * * * *"}, "61"),
        ({"task": NOOP, "schedule": every(hours=1), "timezone": "UTC"}, "'timezone' goes with the text of a cron"),
        ({"task": NOOP, "schedule": every(hours=1), "misfires": "all"}, "Did you mean 'misfire'?"),
        (
            {"task": NOOP, "schedule": every(hours=1), "misfire": "never"},
            "'misfire' must be one of 'skip', 'once', 'all'",
        ),
        ({"task": NOOP, "schedule": every(hours=1), "overlap": 3}, "'overlap' must be one of 'allow', 'skip', 'queue'"),
        ({"task": NOOP, "schedule": every(hours=1), "jitter": -1}, "'jitter' must be a number from 0 to 86,400"),
        ({"task": NOOP, "schedule": every(hours=1), "grace": 0}, "'grace' must be a number from 1 to"),
        ({"task": NOOP, "schedule": every(hours=1), "misfire_limit": 1.5}, "'misfire_limit' must be a number from 1"),
        ({"task": NOOP, "schedule": every(hours=1), "ends_at": datetime(2026, 1, 1)}, "'ends_at' must be an aware"),
        ({"task": NOOP, "schedule": every(hours=1), "priority": "urgent"}, "urgent"),
        ({"task": NOOP, "schedule": every(hours=1), "backend": "nowhere"}, "nowhere"),
        ({"task": NOOP, "schedule": every(hours=1), "queue": "no good"}, "queue name 'no good'"),
        ({"task": NOOP, "schedule": every(hours=1), "args": [1, 2, 3]}, "too many positional arguments"),
        ({"task": NOOP, "schedule": every(hours=1), "args": [object()]}, "args[0]"),
        ({"task": NOOP, "schedule": every(hours=1), "args": "abc"}, "'args' must be a list"),
    ],
)
def test_the_checks_say_what_is_wrong(code, entry, words):
    code(s=entry)
    (text,) = errors()
    assert text.startswith("E030 JOBQUEUE['SCHEDULES']['s']: ")
    assert words in text
    assert declared().broken == {"s"}


def test_two_of_one_name_are_none(code):
    task(noop.func, schedule=every(minutes=5), name="Twice")
    code(twice={"task": NOOP, "schedule": every(hours=1)})
    (text,) = errors()
    assert text.startswith("E031 @task(schedule=…) of Twice: a schedule of this name is declared as JOBQUEUE")
    assert declared().good == {}
    assert declared().broken == {"Twice", "twice"}


def test_what_is_no_schedule_is_refused_where_the_task_is_made():
    with pytest.raises(InvalidTask, match="schedule must be cron"):
        task(noop.func, schedule="0 8 * * *")


@pytest.mark.parametrize("name", ["", "x" * 256, "chore:prune", 5])
def test_names(name):
    with pytest.raises(InvalidSchedule):
        declared_from(name, {"task": noop, "schedule": manual()})


# how they become rows

HOURLY = {"task": NOOP, "schedule": every(hours=1)}


def test_added_changed_retired_and_back(deploy):
    assert deploy(s=HOURLY).added == ["s"]
    first = row()
    assert (first.source, first.enabled, first.kind, first.expression) == ("code", True, "interval", "1 hour")
    assert first.next_run_at == first.due_at == every(hours=1).next_after(first.changed_at)

    assert deploy(s=HOURLY) == ([], [], [], []), "again: nothing"
    assert row().changed_at == first.changed_at

    assert deploy(s={**HOURLY, "kwargs": {"value": 2}}).changed == ["s"]
    assert row().next_run_at == first.next_run_at
    assert decode_call(row().args) == ([], {"value": 2})

    assert deploy().retired == ["s"]
    assert (row().due_at, row().next_run_at) == (None, None)
    assert row().retired_at is not None
    assert deploy() == ([], [], [], [])

    assert deploy(s=HOURLY).changed == ["s"]
    assert row().retired_at is None
    assert row().due_at is not None


def test_a_start_that_finds_everything_as_it_should_be_locks_nothing(deploy):
    """On SQLite five that start at once would wait for each other, each to write nothing."""
    deploy(s=HOURLY)
    ChoreRunner("default").sync()
    with CaptureQueriesContext(connection) as queries:
        assert deploy(s=HOURLY) == ([], [], [], [])
        ChoreRunner("default").sync()
    assert [one["sql"] for one in queries if not one["sql"].startswith("SELECT")] == []


def test_a_pause_survives_a_deploy(deploy):
    deploy(s=HOURLY)
    assert edits.pause("default", row().pk) == 1
    deploy(s={"task": NOOP, "schedule": every(hours=2), "priority": 3})
    assert (row().enabled, row().due_at, row().priority) == (False, None, 3)
    assert edits.resume("default", row().pk) == 1
    assert row().due_at == every(hours=2).next_after(row().changed_at)


def test_another_expression_counts_from_now_on(deploy):
    """What was due by the old one, while nobody was there, is not made up for; with another argument only, it is."""
    deploy(s=HOURLY)
    RecurringJob.objects.update(next_run_at=hours(1), due_at=hours(1))
    deploy(s={**HOURLY, "kwargs": {"value": 2}})
    assert row().due_at == hours(1)
    deploy(s={"task": NOOP, "schedule": every(hours=3)})
    assert row().due_at > edits.store_now("default") - timedelta(seconds=1)


def test_another_name_is_the_same_schedule(deploy):
    deploy(s=HOURLY)
    pk = row().pk
    edits.pause("default", pk)
    done = deploy(t=HOURLY)
    assert (done.added, done.renamed, done.retired) == ([], ["t"], [])
    assert (row("t").pk, row("t").enabled) == (pk, False)


def test_but_not_when_it_could_have_been_another(deploy):
    deploy(s=HOURLY, t=HOURLY)
    done = deploy(u=HOURLY)
    assert (sorted(done.added), done.renamed, sorted(done.retired)) == (["u"], [], ["s", "t"])


def test_what_is_broken_is_left_as_it_is(deploy, caplog):
    deploy(s=HOURLY)
    done = deploy(s={"task": "gone", "schedule": every(hours=1)})
    assert done == ([], [], [], [])
    assert "A schedule is left out: JOBQUEUE['SCHEDULES']['s']: no task is registered as 'gone'" in caplog.text
    assert row().due_at is not None


def test_a_row_made_by_hand_is_the_codes_once_the_code_declares_it(deploy):
    made = RecurringJob(name="s", task="x", kind="once", expression="2031-01-01T00:00:00+00:00", source="admin")
    other = RecurringJob(name="other", task="x", kind="manual", source="admin")
    for one in (made, other):
        edits.plan(one, edits.store_now("default"))
        one.save()
    deploy(s=HOURLY)
    assert (row().pk, row().source, row().task) == (made.pk, "code", NOOP)
    deploy()
    assert row().retired_at is not None
    assert row("other").retired_at is None, "and no other row is touched"


def test_a_chore_is_never_the_codes(deploy):
    RecurringJob.objects.create(name="s", task="x", kind="manual", source="chore")
    deploy(s=HOURLY)
    assert row().task == "x"


def test_once_in_the_past_is_over(deploy):
    deploy(s={"task": NOOP, "schedule": at(hours(0))})
    assert row().due_at is None


@pytest.mark.parametrize(
    "value",
    [
        {"queue": None},
        {"backend": 5},
        {"backend": []},
        {"starts_at": datetime.min.replace(tzinfo=UTC)},
        {"ends_at": datetime.max.replace(tzinfo=UTC)},
        {"priority": object()},
    ],
    ids=lambda value: "-".join(value),
)
def test_whatever_is_written_there_keeps_no_other_schedule_out(deploy, caplog, value):
    """As everything that is no schedule it is a problem, not an exception."""
    deploy(s={**HOURLY, **value}, t=HOURLY)
    assert row("t").due_at is not None
    assert not RecurringJob.objects.filter(name="s").exists()
    assert "A schedule is left out: JOBQUEUE['SCHEDULES']['s']:" in caplog.text


@pytest.mark.parametrize("name", ["\ud800", "a\x00b"])
def test_a_name_that_no_database_stores_keeps_no_other_schedule_out(deploy, name):
    deploy(**{name: HOURLY, "t": HOURLY})
    assert row("t").due_at is not None
    assert RecurringJob.objects.count() == 1


@on_all
def test_a_name_in_other_capitals_is_the_same_schedule(rows, database, code):
    """MariaDB knows no difference, and would refuse a second row."""
    hourly, daily = ({"task": NOOP, "schedule": every(hours=n), "backend": database} for n in (1, 24))
    code(digest=hourly)
    sync(database)
    made = rows.get("digest")
    edits.pause(database, made.pk)
    code(Digest=daily)
    assert sync(database).renamed == ["Digest"]
    assert sync(database) == ([], [], [], [])
    now = RecurringJob.objects.using(database).get()
    assert (now.pk, now.name, now.expression, now.enabled, now.retired_at) == (made.pk, "Digest", "1 day", False, None)


@pytest.mark.parametrize("database", [on("mariadb")])
def test_a_name_that_the_database_takes_for_another_is_told(rows, database, code, caplog):
    rows.make("cafe")
    code(**{"café": {"task": NOOP, "schedule": every(hours=1), "backend": database}})
    sync(database)
    if not RecurringJob.objects.using(database).filter(source="code").exists():
        assert "The schedule 'café' is left out: there is one called 'cafe'" in caplog.text
    assert rows.get("cafe").retired_at is None


# edits


def test_an_edit_that_is_not_about_the_time_keeps_a_tick_that_is_due(db, rows):
    """Also one that waits for its next attempt, which is at once now: the edit may have mended it."""
    made = rows.make(task="nobody.knows")
    assert rows.tick(hours(1)).outcomes[0].outcome == "failed"
    changed = edits.changed("default", made.pk, task=NOOP, priority=5, expression="1 hour", enabled=True)
    assert (changed.next_run_at, changed.due_at, changed.failures, changed.last_error) == (hours(1), hours(1), 0, "")
    assert [one.tick for one in rows.tick(hours(1) + timedelta(seconds=1)).outcomes] == [hours(1)]
    assert rows.jobs()[0].priority == 5


def test_an_edit_that_changes_nothing_writes_nothing(db, rows):
    made = rows.make()
    before = RecurringJob.objects.values().get()
    edits.changed("default", made.pk, expression="1 hour", priority=None)
    assert RecurringJob.objects.values().get() == before


def test_an_edit_changes_what_it_names_and_plans_anew(db, rows):
    made = rows.make()
    rows.tick(hours(1))
    changed = edits.changed("default", made.pk, kind="interval", expression="30 minutes")
    assert changed.last_run_at == hours(1), "what a tick has written stays, though the caller had an older row"
    assert changed.next_run_at == every(minutes=30).next_after(changed.changed_at)
    with pytest.raises(InvalidSchedule):
        edits.changed("default", made.pk, expression="nonsense")
    assert rows.get().expression == "30 minutes"
    with pytest.raises(RecurringJob.DoesNotExist):
        edits.changed("default", 10**6, expression="1 hour")


def test_what_was_missed_during_a_pause_is_not_made_up_for(db, rows):
    made = rows.make()
    edits.pause("default", made.pk)
    assert rows.tick(hours(9)).outcomes == []
    edits.resume("default", made.pk)
    assert rows.get().due_at > edits.store_now("default") - timedelta(seconds=1)
    assert edits.resume("default", made.pk) == edits.pause("default") == 0


def test_one_that_is_removed_meanwhile_keeps_no_other_from_going_on(db, rows, monkeypatch):
    gone, other = rows.make("gone"), rows.make("other")
    edits.pause("default", gone.pk, other.pk)
    change = edits.changed

    def remove_first(database, pk, **fields):
        RecurringJob.objects.filter(pk=gone.pk).delete()
        return change(database, pk, **fields)

    monkeypatch.setattr(edits, "changed", remove_first)
    edits.resume("default", gone.pk, other.pk)
    assert rows.get("other").enabled
