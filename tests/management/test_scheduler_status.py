"""`scheduler_status`: what a person reads at night, and what a monitor goes by."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_jobqueue.jobs import registry
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import lookup, registered_names
from django_jobqueue.jobs.schedule import cron, every, manual
from django_jobqueue.models import DeadLetterJob, RecurringJob
from django_jobqueue.monitoring import last_jobs
from django_jobqueue.monitoring.schedules import report_of
from django_jobqueue.queues import get_queue
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.edits import store_now
from django_jobqueue.scheduling.register import Register
from django_jobqueue.scheduling.service import SchedulerService
from django_jobqueue.testing import run_all
from tests.lifecycle.letters import letter_fields, write_letter
from tests.management.test_commands import run
from tests.scheduling.conftest import only_built_in
from tests.stores import NOBODY_LISTENS, ONE_STORE, two_stores
from tests.testapp.tasks import add, fail

pytestmark = pytest.mark.django_db(transaction=True)
HOURLY = every(hours=1)


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=["default", alias]))


@pytest.fixture
def service(settings, monkeypatch):
    """Of a project that declares nothing: tasks of other tests, and of the documentation, may have schedules."""
    settings.TASKS = ONE_STORE
    only_built_in(monkeypatch)
    for name in registered_names():
        if getattr(lookup(name).task, "schedule", None) is not None:
            monkeypatch.delitem(registry._definitions, name)
    return SchedulerService()


@pytest.fixture
def scheduler(service):
    Register("default").beat(4, 1)


def status(*arguments):
    """Its JSON, its exit code and its last words."""
    out, error = StringIO(), None
    try:
        call_command("scheduler_status", "--json", *arguments, stdout=out)
    except CommandError as raised:
        error = raised
    import json

    return json.loads(out.getvalue()), 0 if error is None else error.returncode, str(error or "")


def problems(*arguments):
    found, code, _ = status(*arguments)
    said = [problem for one in found["databases"] for problem in one["problems"]]
    assert code == bool(said)
    return said


def line(name):
    found, _, _ = status()
    return next(
        one for one in found["databases"][0]["schedules"] + found["databases"][0]["chores"] if one["name"] == name
    )


def test_nothing_at_all_is_fine(service):
    assert run("scheduler_status").startswith("default: no schedulers, no schedules (0 paused), no chores. It is 20")


def test_all_is_well(service, scheduler):
    service.schedule("digest", add, cron("0 8 * * 1-5", timezone="Europe/Berlin"), args=[1, 2])
    service.schedule("by hand", add, manual(), args=[1, 2])
    service.schedule("paused one", add, HOURLY, args=[1, 2], enabled=False)
    ChoreRunner("default").sync()
    text = run("scheduler_status")
    assert text.startswith("default: 1 scheduler, 3 schedules (1 paused), 4 chores.")
    assert text.index("scheduler ") < text.index("schedule  ") < text.index("digest") < text.index("chore ")
    assert "Europe/Berlin" in text
    assert "promote" in text
    assert "Wrong" not in text
    assert [line(name)["state"] for name in ("digest", "by hand", "paused one")] == ["on time", "by hand", "paused"]
    found, code, _ = status()
    assert code == 0
    (one,) = found["databases"]
    assert (one["schedulers"][0]["dispatched"], one["schedulers"][0]["failed"]) == (4, 1)
    assert one["counts"] == {"schedules": 3, "paused": 1, "chores": 4}


def test_no_scheduler_is_a_problem_as_soon_as_there_is_something_to_do(service):
    service.schedule("by hand", add, manual(), args=[1, 2])
    assert problems() == []
    service.schedule("hourly", add, HOURLY, args=[1, 2])
    (said,) = problems()
    assert said.startswith("No scheduler is alive for the database 'default': start `manage.py scheduler_run` (or ")
    with pytest.raises(CommandError, match="One problem") as caught:
        run("scheduler_status")
    assert caught.value.returncode == 1


@pytest.mark.parametrize("database", ["default", on("postgres")])
def test_what_is_late_is_told_by_how_much_and_since_when(database, service, settings):
    settings.TASKS = {"default": {**ONE_STORE["default"], "OPTIONS": {"database": database}}}
    Register(database).beat(0, 0)
    service = SchedulerService("default")
    for number in range(7):
        service.schedule(f"s{number}", add, HOURLY, args=[1, 2])
    before = store_now(database) - timedelta(seconds=90)
    RecurringJob.objects.using(database).update(due_at=before, next_run_at=before)
    assert problems("--late", "2m") == []
    (said,) = problems()
    assert said.startswith("7 should have been looked at by now, s0, s1, s2, s3, s4, …: the first since 20")
    found, _, _ = status()
    assert 80 < found["databases"][0]["late_s"] < 600
    assert {one["state"] for one in found["databases"][0]["schedules"]} == {"late"}


def test_what_could_not_be_dispatched_says_why_and_when_it_is_tried_again(service, scheduler):
    service.schedule("broken", add, HOURLY, args=[1, 2])
    RecurringJob.objects.update(task="shop.tasks.gone")
    service.execute_due(store_now("default") + timedelta(hours=1))
    (said,) = problems()
    assert said.startswith("broken could not be dispatched, once: UnknownTask: no task is registered as 'shop")
    assert "It is tried again at " in said
    assert line("broken")["state"] == "failing"


def test_a_chore_that_fails_is_a_problem(service, scheduler):
    ChoreRunner("default").sync()
    RecurringJob.objects.filter(name="chore:sweep").update(failures=3, last_error="ValueError: no")
    (said,) = problems()
    assert said.startswith("chore:sweep failed, 3 times by now: ValueError: no")


def test_a_schedule_whose_last_job_died_is_a_problem_until_one_succeeds(service, scheduler):
    service.schedule("nightly", fail, every(days=1), args=["the disk is full"])
    job_id = service.trigger("nightly")
    assert line("nightly")["last_job"] == "pending"
    run_all()
    (said,) = problems()
    assert said == (
        "nightly: its last job is a dead letter (exhausted, ValueError: the disk is full). "
        f"`manage.py queue_failed --backend default {job_id}` shows it."
    )
    assert line("nightly")["last_job"] == "dead"
    RecurringJob.objects.update(task="tests.testapp.tasks.noop")
    service.trigger("nightly", args=[1])
    run_all()
    assert problems() == []
    assert line("nightly")["last_job"] == "completed"


@pytest.mark.parametrize("few", [last_jobs.FEW, 0])
def test_dead_last_jobs_are_found_among_few_letters_and_many(service, scheduler, monkeypatch, few):
    monkeypatch.setattr(last_jobs, "FEW", few)
    for number in range(4):
        service.schedule(f"s{number}", add, manual(), args=[1, 2])
    RecurringJob.objects.filter(name="s3").update(retired_at=timezone.now(), last_job_id=write_letter().pk)
    for name in ("s1", "s2"):
        RecurringJob.objects.filter(name=name).update(last_job_id=write_letter().pk)
    write_letter()
    RecurringJob.objects.filter(name="s0").update(last_job_id=uuid7())
    assert [said.partition(":")[0] for said in problems()] == ["s1", "s2"]
    assert len(problems("--limit", "1")) == 1


@pytest.mark.parametrize("few", [last_jobs.FEW, 0])
@pytest.mark.parametrize("database", [on("postgres")])
def test_no_plan_compares_each_schedule_with_each_letter(database, settings, monkeypatch, few):
    """Of tables that were never analysed PostgreSQL believes whatever makes a nested loop look cheap."""
    monkeypatch.setattr(last_jobs, "FEW", few)
    connection = connections[database]
    values = {"task": "t", "kind": "manual", "changed_at": timezone.now()}
    schedules = [RecurringJob(name=f"s{number}", last_job_id=uuid7(), **values) for number in range(2_000)]
    RecurringJob.objects.using(database).bulk_create(schedules)
    DeadLetterJob.objects.using(database).bulk_create(DeadLetterJob(**letter_fields()) for _ in range(50))
    with CaptureQueriesContext(connection) as queries:
        report_of(database)
    for query in queries.captured_queries:
        if query["sql"].startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + query["sql"])
                plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Nested Loop" not in plan, plan


def test_a_tick_that_waits_for_the_previous_job_is_seen_and_no_problem(service, scheduler):
    service.schedule("one at a time", add, HOURLY, args=[1, 2], overlap="queue")
    service.trigger("one at a time")
    before = store_now("default") - timedelta(minutes=5)
    RecurringJob.objects.update(due_at=before, next_run_at=before)
    (result,) = service.execute_due()
    assert result.outcome == "held"
    assert problems() == []
    assert line("one at a time")["state"] == "waiting"


def test_a_last_job_whose_history_is_gone_is_forgotten(service, scheduler):
    service.schedule("old", add, HOURLY, args=[1, 2])
    RecurringJob.objects.update(last_job_id="0" * 32)
    assert line("old")["last_job"] == "forgotten"


def test_what_code_declares_and_the_tables_don_t_have_is_a_problem(service, scheduler, settings):
    entry = {"task": "tests.testapp.tasks.add", "args": [1, 2], "schedule": "0 8 * * *"}
    settings.JOBQUEUE = {"SCHEDULES": {"mornings": entry, "broken": {**entry, "misfire": "maybe"}}}
    left_out, missing = problems()
    assert left_out.startswith("Left out: JOBQUEUE['SCHEDULES']['broken']: 'misfire' must be")
    assert missing.startswith("Declared in code and not in the tables, mornings: a scheduler that starts")


def test_a_row_that_can_t_be_read_does_not_hide_the_others(service, scheduler):
    service.schedule("good", add, HOURLY, args=[1, 2])
    when = {"kind": "cron", "expression": "no", "timezone": "Mars/Base"}
    RecurringJob.objects.create(name="bad \x1b[31m", task="t", failures=1, last_error="\x1b[2J", **when)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("scheduler_status", stdout=out)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "which can't be read" in text
    assert "good" in text


def test_of_many_those_in_trouble_and_those_that_are_next_are_shown(service, scheduler, django_assert_max_num_queries):
    for number in range(30):
        service.schedule(f"s{number:02}", add, every(hours=1 + number), args=[1, 2])
    RecurringJob.objects.filter(name="s29").update(failures=1, last_error="no")
    with django_assert_max_num_queries(40):
        found, _, _ = status("--limit", "3")
    names = {one["name"] for one in found["databases"][0]["schedules"]}
    assert "s29" in names
    assert len(names) == 3
    with pytest.raises(CommandError):
        run("scheduler_status", "--limit", "3")


def test_a_database_that_does_not_answer_is_told_apart(service, monkeypatch):
    def away(*arguments):
        raise OperationalError("no route to host")

    monkeypatch.setattr("django_jobqueue.management.commands.scheduler_status.report_of", away)
    found, code, said = status()
    assert (found["databases"], code) == ([], 2)
    assert said == "The database 'default' is out of reach: no route to host"


def test_a_store_that_is_away_is_a_problem_and_the_rest_is_shown(service, scheduler, settings):
    service.schedule("quick", add, HOURLY, args=[1, 2])
    settings.TASKS = two_stores(NOBODY_LISTENS)
    RecurringJob.objects.update(backend="fast", last_job_id="0" * 32)
    (said,) = problems()
    assert said.startswith("The store 'fast', where jobs of schedules go, is out of reach")
    assert line("quick")["last_job"] == "unknown"


@pytest.mark.redis
def test_a_job_in_redis_is_found(service, scheduler, settings):
    settings.TASKS = two_stores()
    get_queue("fast").connection.client.flushdb()
    service.schedule("quick", add, HOURLY, args=[1, 2], backend="fast")
    [job_id] = get_queue("fast").push(JobPayload.create(add, (1, 2)))
    RecurringJob.objects.update(last_job_id=job_id)
    assert line("quick")["last_job"] == "pending"


def test_with_times_without_zones(service, scheduler, settings):
    settings.USE_TZ = False
    service.schedule("hourly", add, HOURLY, args=[1, 2])
    RecurringJob.objects.update(due_at=timezone.now() - timedelta(days=1))
    assert len(problems()) == 1
