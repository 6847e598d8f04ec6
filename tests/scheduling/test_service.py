"""`SchedulerService`: schedules that are made, triggered, paused and done from Python."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections, transaction

from django_jobqueue.compat import InvalidTaskBackend
from django_jobqueue.exceptions import (
    InvalidSchedule,
    JobQueueError,
    PayloadError,
    ScheduleNotFound,
    SignatureMismatch,
    UnknownTask,
)
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.jobs.schedule import at, cron, every, manual
from django_jobqueue.models import Job, RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Room
from django_jobqueue.scheduling.chore_runner import ChoreRunner
from django_jobqueue.scheduling.edits import store_now
from django_jobqueue.scheduling.service import SchedulerService
from django_jobqueue.scheduling.ticks import tick_id
from tests.stores import empty_fast, two_stores
from tests.testapp.tasks import add, noop
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db
NAME = "sums"
HOURLY = every(hours=1)
FUTURE = datetime(2999, 12, 24, 18, tzinfo=UTC)


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(databases=["default", alias]))


everywhere = pytest.mark.parametrize("database", ["default", on("postgres")], indirect=True)


@pytest.fixture
def database(request):
    return getattr(request, "param", "default")


@pytest.fixture
def service(database):
    return SchedulerService() if database == "default" else SchedulerService(database)


def soon(service, **span):
    return store_now(service.database) + timedelta(**span)


def jobs(database="default"):
    return list(Job.objects.using(database).order_by("created_at", "pk"))


# -- making and changing ---------------------------------------------------------------------------------------------


@everywhere
def test_a_schedule_is_made_with_its_next_tick(service, database):
    options = {"queue": "reports", "priority": "high", "jitter": 5, "misfire": "skip", "overlap": "queue", "grace": 9}
    row = service.schedule(NAME, add, cron("0 8 * * *", timezone="Europe/Berlin"), args=[1], kwargs={"b": 2}, **options)
    found = RecurringJob.objects.using(database).get()
    assert (found.pk, found.task, found.source, found.enabled) == (row.pk, "tests.testapp.tasks.add", "admin", True)
    assert (found.kind, found.expression, found.timezone) == ("cron", "0 8 * * *", "Europe/Berlin")
    assert (found.queue, found.priority, found.jitter) == ("reports", 50, 5)
    assert (found.misfire, found.overlap, found.grace) == ("skip", "queue", 9)
    assert decode_call(found.args) == ([1], {"b": 2})
    assert found.due_at == found.next_run_at == service.get_next_execution_time(NAME)
    assert timedelta(0) < found.due_at - store_now(database) <= timedelta(hours=25)


def test_the_same_name_again_changes_it_and_leaves_a_pause(service):
    service.schedule(NAME, add, HOURLY, args=[1, 2], queue="reports")
    service.pause(NAME)
    service.schedule(NAME, add, every(minutes=5), args=[3, 4])
    row = service.get(NAME)
    assert (row.expression, row.queue, row.enabled, row.due_at) == ("5 minutes", "", False, None)
    service.schedule(NAME, add, every(minutes=5), args=[3, 4], enabled=True)
    assert service.get(NAME).due_at is not None
    service.schedule(NAME, add, every(minutes=5), args=[3, 4], enabled=False)
    assert service.get_next_execution_time(NAME) is None
    assert RecurringJob.objects.count() == 1


def test_a_schedule_may_begin_paused(service):
    assert service.schedule(NAME, add, HOURLY, args=[1, 2], enabled=False).due_at is None


@pytest.mark.parametrize(
    ("work", "when", "options", "words"),
    [
        ("no.such.task", HOURLY, {}, "no.such.task"),
        (add, "0 25 * * *", {}, "25"),
        (add, HOURLY, {"misfire": "maybe"}, "misfire"),
        (add, HOURLY, {"color": "red"}, "color"),
        (add, HOURLY, {"args": [object()]}, "object"),
        (add, HOURLY, {"args": [1, 2], "backend": "elsewhere"}, "use SchedulerService.'elsewhere'."),
    ],
)
def test_what_can_t_work_is_refused_in_words(service, settings, work, when, options, words):
    elsewhere = {**settings.TASKS["default"], "OPTIONS": {"database": "elsewhere"}}
    settings.TASKS = {"default": settings.TASKS["default"], "elsewhere": elsewhere}
    with pytest.raises(InvalidSchedule, match=words):
        service.schedule(NAME, work, when, **options)
    assert not RecurringJob.objects.exists()


def test_what_is_declared_in_code_is_changed_and_removed_there(service):
    RecurringJob.objects.create(name=NAME, task="t", kind="manual", source="code")
    with pytest.raises(InvalidSchedule, match="declared in code"):
        service.schedule(NAME, add, HOURLY, args=[1, 2])
    with pytest.raises(InvalidSchedule, match="declared in code"):
        service.remove(NAME)
    RecurringJob.objects.update(retired_at=datetime.now(UTC))  # but what is declared no more is anybody's
    assert service.schedule(NAME, add, HOURLY, args=[1, 2]).source == "admin"
    assert service.get(NAME).retired_at is None
    RecurringJob.objects.update(source="code", retired_at=datetime.now(UTC))
    assert service.remove(NAME) is True


def test_an_unknown_name_is_told_with_the_one_that_was_meant(service):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    for act in (service.trigger, service.pause, service.resume, service.get_next_execution_time):
        with pytest.raises(ScheduleNotFound, match="did you mean 'sums'"):
            act("sum")
    assert issubclass(ScheduleNotFound, LookupError)
    assert service.remove("sum") is False


@everywhere
def test_a_name_that_no_database_stores_is_one_that_is_not_there(service, database):
    with pytest.raises(ScheduleNotFound):
        service.trigger("nul \x00")
    assert service.remove("half \ud800") is False


def test_one_whose_backend_is_in_another_database_is_not_run_and_says_why(service, settings):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    elsewhere = {**settings.TASKS["default"], "OPTIONS": {"database": "elsewhere"}}
    settings.TASKS = {"default": settings.TASKS["default"], "elsewhere": elsewhere}
    RecurringJob.objects.update(backend="elsewhere")
    with pytest.raises(InvalidTaskBackend, match="must be written in one transaction"):
        service.trigger(NAME)


def test_one_that_is_removed_while_it_is_triggered_does_not_run(service, monkeypatch):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    get = SchedulerService.get

    def slowly(self, name):
        row = get(self, name)
        service.remove(name)
        return row

    monkeypatch.setattr(SchedulerService, "get", slowly)
    with pytest.raises(ScheduleNotFound, match="just been removed"):
        service.trigger(NAME)
    assert jobs() == []


def test_remove_deletes_it_and_leaves_its_jobs(service):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    service.trigger(NAME)
    assert service.remove(NAME) is True
    assert not RecurringJob.objects.exists()
    assert len(jobs()) == 1


# -- pause and resume ------------------------------------------------------------------------------------------------


def test_a_pause_is_no_tick_and_nothing_is_made_up_for(service):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    assert service.pause(NAME) is True
    assert service.pause(NAME) is False
    assert service.get_next_execution_time(NAME) is None
    assert service.execute_due(soon(service, days=2)) == []
    assert service.resume(NAME) is True
    assert service.resume(NAME) is False
    assert service.get_next_execution_time(NAME) > store_now("default")
    assert jobs() == []


# -- run now ---------------------------------------------------------------------------------------------------------


@everywhere
def test_trigger_runs_it_now_with_its_own_arguments_queue_and_priority(service, database):
    service.schedule(NAME, add, HOURLY, args=[1], kwargs={"b": 2}, queue="reports", priority=7)
    before = service.get(NAME)
    job_id = service.trigger(NAME)
    (job,) = jobs(database)
    assert (job.pk, job.task, job.queue, job.priority) == (job_id, "tests.testapp.tasks.add", "reports", 7)
    assert decode_call(job.args) == ([1], {"b": 2})
    assert get_queue(database).find(job_id).room is Room.READY
    after = service.get(NAME)
    assert (after.next_run_at, after.due_at, after.last_run_at) == (before.next_run_at, before.due_at, None)
    assert after.last_job_id == job_id


def test_trigger_may_have_other_arguments(service):
    service.schedule(NAME, add, manual(), args=[1, 2], enabled=False)
    service.trigger(NAME, args=[5], kwargs={"b": 6}, queue="quick", priority="critical")
    (job,) = jobs()
    assert (decode_call(job.args), job.queue, job.priority) == (([5], {"b": 6}), "quick", 100)
    service.trigger(NAME, kwargs={"a": 1, "b": 6})
    assert decode_call(jobs()[1].args) == ([], {"a": 1, "b": 6})


@pytest.mark.parametrize(
    ("values", "error"),
    [({"args": [1]}, SignatureMismatch), ({"args": [1, object()]}, PayloadError), ({"kwargs": {}}, SignatureMismatch)],
)
def test_trigger_refuses_arguments_that_don_t_fit(service, values, error):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    with pytest.raises(error):
        service.trigger(NAME, **values)
    assert jobs() == []
    assert service.get(NAME).last_job_id is None


def test_trigger_of_a_task_that_is_gone_says_so(service):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    RecurringJob.objects.update(task="shop.tasks.gone")
    with pytest.raises(UnknownTask, match=r"shop\.tasks\.gone"):
        service.trigger(NAME)


def test_a_tick_minds_a_job_that_was_triggered_when_one_at_a_time_is_asked_for(service):
    service.schedule(NAME, add, HOURLY, args=[1, 2], overlap="skip")
    service.trigger(NAME)
    (result,) = service.execute_due(soon(service, hours=1))
    assert (result.outcome, result.job_id, result.is_ok) == ("skipped", None, True)


def test_a_chore_that_is_triggered_is_due_at_once(service):
    ChoreRunner("default").sync()
    assert service.trigger("chore:sweep") is None
    assert [row.name for row in service.get_due()] == ["chore:sweep"]
    (result,) = service.execute_due()
    assert (result.name, result.outcome, result.error) == ("chore:sweep", "done", "")
    assert service.get_due() == []
    assert service.get_next_execution_time("chore:sweep") > store_now("default")
    service.pause("chore:sweep")
    with pytest.raises(JobQueueError, match="resume it first"):
        service.trigger("chore:sweep")


# -- what is due -----------------------------------------------------------------------------------------------------


@everywhere
def test_execute_due_pushes_each_tick_once_and_tells_of_it(service, database):
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    service.schedule("other", noop, every(days=40))
    service.schedule("by hand", noop, manual())
    moment = service.get_next_execution_time(NAME)
    assert service.get_due() == service.execute_due() == []
    assert [row.name for row in service.get_due(moment)] == [NAME]
    (result,) = service.execute_due(moment)
    assert (result.name, result.tick, result.outcome, result.error) == (NAME, moment, "dispatched", "")
    assert result.job_id == tick_id(NAME, moment) == jobs(database)[0].pk
    assert service.execute_due(moment) == []
    assert service.get_next_execution_time(NAME) == moment + timedelta(hours=1)


def test_execute_due_goes_on_until_nothing_is_due(service, monkeypatch):
    monkeypatch.setattr("django_jobqueue.scheduling.tick.LIMIT", 2)
    monkeypatch.setattr("django_jobqueue.scheduling.tick.tick.__defaults__", (2, None))
    for number in range(5):
        service.schedule(f"s{number}", noop, HOURLY)
    assert len(service.execute_due(soon(service, hours=1))) == 5


def test_a_row_that_can_t_be_done_is_a_result_and_the_others_are_done(service):
    service.schedule("broken", add, HOURLY, args=[1, 2])
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    RecurringJob.objects.filter(name="broken").update(task="shop.tasks.gone")
    results = {one.name: one for one in service.execute_due(soon(service, hours=1))}
    assert (results["broken"].outcome, results["broken"].is_ok) == ("failed", False)
    assert "shop.tasks.gone" in results["broken"].error
    assert results[NAME].outcome == "dispatched"


def test_a_chore_that_fails_is_a_result(service, monkeypatch):
    from django_jobqueue.scheduling import chores

    monkeypatch.setattr(chores, "_registered", {})
    chores.chore(every(minutes=1), name="mine")(lambda round: 1 / 0)
    ChoreRunner("default").sync()
    (result,) = service.execute_due(soon(service, minutes=1))
    assert (result.name, result.outcome) == ("chore:mine", "failed")
    assert "ZeroDivisionError" in result.error


def test_once_is_once(service):
    service.schedule(NAME, add, at(soon(service, minutes=1)), args=[1, 2])
    assert len(service.execute_due(soon(service, minutes=2))) == 1
    assert service.get_next_execution_time(NAME) is None


PAST = datetime(2020, 2, 29, 12, tzinfo=UTC)


@everywhere
@pytest.mark.parametrize(
    ("when", "options", "words"),
    [
        (at(PAST), {}, "2020-02-29 12:00:00 UTC is past .* give a moment to come, or enqueue the task"),
        (HOURLY, {"ends_at": PAST}, "every hour has no tick between now and 2020-02-29 12:00:00 UTC"),
        (cron("0 8 * * *"), {"starts_at": FUTURE, "ends_at": FUTURE}, "between 2999-12-24 18:00:00 UTC and 2999"),
        (at(FUTURE), {"ends_at": FUTURE - timedelta(days=1)}, "has no tick between now and 2999-12-23"),
    ],
)
def test_what_would_never_run_is_refused_in_words(service, database, when, options, words):
    with pytest.raises(InvalidSchedule, match=words):
        service.schedule(NAME, noop, when, **options)
    assert not RecurringJob.objects.using(database).exists()


def test_a_schedule_is_not_changed_to_what_would_never_run(service):
    before = service.schedule(NAME, noop, HOURLY).next_run_at
    with pytest.raises(InvalidSchedule, match="is past"):
        service.schedule(NAME, noop, at(PAST))
    assert service.get_next_execution_time(NAME) == before


def test_what_has_run_may_be_said_again(service):
    """Projects call `schedule` whenever they start, also after the moment."""
    moment = soon(service, minutes=1)
    service.schedule(NAME, noop, at(moment))
    service.execute_due(moment)
    RecurringJob.objects.update(expression=at(PAST).expression, last_run_at=PAST)
    row = service.schedule(NAME, noop, at(PAST), priority=3)
    assert (row.priority, row.next_run_at, row.due_at) == (3, None, None)
    RecurringJob.objects.update(source="code", retired_at=PAST)
    with pytest.raises(InvalidSchedule, match="is past"):
        service.schedule(NAME, noop, at(PAST))


def test_by_hand_and_for_some_time_are_no_mistakes(service):
    assert service.schedule("by hand", noop, manual()).due_at is None
    assert service.schedule("some time", noop, HOURLY, ends_at=soon(service, hours=2)).due_at is not None


# -- beside others ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_what_is_done_in_a_transaction_that_is_rolled_back_was_not_done():
    service = SchedulerService("postgres")
    service.schedule(NAME, add, HOURLY, args=[1, 2])
    with transaction.atomic("postgres"):
        service.trigger(NAME)
        service.pause(NAME)
        service.schedule("another", add, HOURLY, args=[1, 2])
        transaction.set_rollback(True, "postgres")
    row = RecurringJob.objects.using("postgres").get()
    assert (row.enabled, row.last_job_id, jobs("postgres")) == (True, None, [])


@pytest.mark.parametrize(
    "database",
    [
        pytest.param("default", marks=pytest.mark.django_db(transaction=True)),
        pytest.param("postgres", marks=pytest.mark.django_db(transaction=True, databases=["default", "postgres"])),
    ],
    indirect=True,
)
def test_two_that_make_the_same_schedule_at_once_make_one(service, database):
    start, ends = threading.Barrier(2), []

    def make(minutes):
        try:
            start.wait(20)
            ends.append(service.schedule(NAME, add, every(minutes=minutes), args=[1, 2]).expression)
        except BaseException as error:
            ends.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=make, args=[minutes]) for minutes in (5, 7)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sorted(ends) == ["5 minutes", "7 minutes"]
    assert RecurringJob.objects.using(database).get().expression in ends


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_the_schedules_of_a_redis_store_are_in_its_database(settings):
    settings.TASKS = two_stores()
    fast, service = empty_fast(), SchedulerService("fast")
    assert service.schedule(NAME, add, HOURLY, args=[1, 2]).backend == "fast"
    triggered = service.trigger(NAME)
    (result,) = service.execute_due(soon(service, hours=1))
    for job_id in (triggered, result.job_id):
        wait_until(lambda job_id=job_id: fast._find(job_id) is not None)
    assert jobs() == []


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_a_trigger_that_is_rolled_back_never_gets_to_redis(settings):
    settings.TASKS = two_stores({"connection": "redis", "on_commit": "immediate"})
    fast, service = empty_fast(), SchedulerService()
    service.schedule(NAME, add, HOURLY, args=[1, 2], backend="fast")
    with transaction.atomic():
        job_id = service.trigger(NAME)
        transaction.set_rollback(True)
    assert fast.find(job_id) is None


def test_the_same_again_loses_no_tick(service):
    """Projects call `schedule` whenever they start: the tick that is due just then must still become a job."""
    service.schedule(NAME, noop, HOURLY)
    due = store_now("default").replace(minute=0, second=0, microsecond=0)
    RecurringJob.objects.update(next_run_at=due, due_at=due)
    service.schedule(NAME, noop, HOURLY, priority=3)
    assert service.schedule(NAME, noop, HOURLY, priority=3).next_run_at == due
    (result,) = service.execute_due()
    assert (result.tick, result.outcome) == (due, "dispatched")


def test_execute_due_does_all_that_is_due_also_of_one_that_missed_many(service):
    service.schedule(NAME, noop, HOURLY, misfire="all", misfire_limit=250)
    done = service.execute_due(soon(service, hours=1_000))
    assert len(done) >= 250
    assert {one.outcome for one in done} == {"dispatched"}
