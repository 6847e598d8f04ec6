"""The hour that the clocks repeat, in projects whose times Django stores as local ones: nothing comes twice, early or
never, and nobody is taken for dead.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from django_jobqueue.compat import as_django_tells_it
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.schedule import cron, every
from django_jobqueue.models import DelayedJob, RecurringJob, WorkerProcess
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.orm.queue import dialect_of
from django_jobqueue.scheduling.mending import mend
from django_jobqueue.scheduling.register import Register, alive
from django_jobqueue.scheduling.service import SchedulerService
from django_jobqueue.scheduling.ticks import tick_id
from tests.scheduling.conftest import Rows

ZONE = "Europe/Berlin"
BACK = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
"""03:00 becomes 02:00."""
MINUTE = timedelta(minutes=1)


@pytest.fixture
def there(request):
    """A database whose connection has local times: USE_TZ is off, or the connection has a zone."""
    alias, use_tz = request.param
    with override_settings(USE_TZ=use_tz, TIME_ZONE=ZONE):
        _set_zone(connections[alias], ZONE if use_tz else None)
        yield alias
    _set_zone(connections[alias], None)


def _set_zone(connection, zone):
    connection.close()
    connection.settings_dict["TIME_ZONE"] = zone
    for cached in ("timezone", "timezone_name"):
        connection.__dict__.pop(cached, None)


def on(*aliases):
    return pytest.mark.parametrize(
        "there",
        [
            pytest.param(
                (alias, use_tz),
                marks=pytest.mark.django_db(transaction=True, databases=sorted({"default", alias})),
                id=f"{alias}, {'connection in Berlin' if use_tz else 'USE_TZ off'}",
            )
            for alias in aliases
            for use_tz in ((False, True) if alias == "default" else (False,))
        ],
        indirect=True,
    )


SCHEDULES = {
    "quarters": cron("*/15 * * * *", ZONE),
    "sevens": every(minutes=7),
    "nights": cron("30 2 * * *", ZONE),
    "tens": every(minutes=10),
}


@on("default", "postgres", "mariadb")
def test_p7_each_tick_of_it_is_one_job(there):
    """Minute by minute through both hours: what is due is done once, and is not due any more."""
    rows, service = Rows(there), SchedulerService.of(there)
    first, last = BACK - 70 * MINUTE, BACK + 70 * MINUTE
    for name, schedule in SCHEDULES.items():
        rows.make(
            name, schedule, at=first, misfire="all", misfire_limit=100, overlap="skip" if name == "tens" else "allow"
        )
    moment, seen = first, []
    while moment <= last:
        outcomes = rows.tick(moment).outcomes
        assert {one.tick for one in outcomes} <= {moment}
        seen += [(one.name, one.tick) for one in outcomes]
        assert service.get_due(moment) == [], f"at {moment} a scheduler would look again at once"
        assert rows.tick(moment).outcomes == []
        moment += MINUTE
    wanted = [(name, tick) for name, schedule in SCHEDULES.items() for tick in _between(schedule, first, last)]
    assert sorted(seen) == sorted(wanted)
    jobs = {tick_id(name, tick) for name, tick in wanted if name != "tens"} | {tick_id("tens", BACK - 60 * MINUTE)}
    assert {job.pk for job in rows.jobs()} == jobs
    for name, schedule in SCHEDULES.items():
        assert service.get_next_execution_time(name) == as_django_tells_it(schedule.next_after(last))


def _between(schedule, first, last):
    ticks = []
    while (tick := schedule.next_after(ticks[-1] if ticks else first)) <= last:
        ticks.append(tick)
    return ticks


@on("default", "postgres", "mariadb")
@pytest.mark.parametrize("moment", [BACK - 30 * MINUTE, BACK, BACK + 30 * MINUTE])
def test_a_row_gives_back_the_moment_that_was_written(there, moment):
    """By both ways to it: the model, and the statements of the stores."""
    dialect, told = dialect_of(there), as_django_tells_it(moment)
    row = Rows(there).make(starts_at=told)
    read = RecurringJob.objects.using(there).get(starts_at=told)
    assert _utc(read.starts_at) == moment
    assert (read.starts_at.tzinfo is None) is not settings.USE_TZ
    select = f"SELECT {dialect.as_read('starts_at')} FROM jobqueue_recurring_jobs WHERE starts_at = %s"
    assert [dialect.from_time(one) for (one,) in dialect.rows(select, [dialect.to_time(moment)])] == [moment]
    dialect.execute("UPDATE jobqueue_recurring_jobs SET ends_at = %s", [dialect.to_time(moment)])
    row.refresh_from_db()
    assert _utc(row.ends_at) == moment
    assert not RecurringJob.objects.using(there).filter(ends_at__lt=told).exists()


def _utc(moment):
    zone = None if settings.USE_TZ else ZoneInfo(ZONE)
    return moment.replace(tzinfo=zone or moment.tzinfo).astimezone(UTC)


class Clock:
    """The store's clock."""

    def __init__(self, monkeypatch, alias, moment):
        self.moment = moment
        monkeypatch.setattr(type(dialect_of(alias)), "now", lambda _: self.moment)


@on("default", "mariadb")
def test_no_worker_and_no_scheduler_is_taken_for_dead_when_the_hour_begins_again(there, monkeypatch):
    clock = Clock(monkeypatch, there, BACK - timedelta(seconds=5))
    queue, worker, register = OrmQueue(there, database=there), WorkerIdentity(), Register(there)
    queue.join(worker)
    register.beat(0, 0)
    queue.push(JobPayload(task="tests.testapp.tasks.noop", args=encode_call((), {})))
    (held,) = queue.reserve((), 1, worker.id)
    clock.moment = BACK + timedelta(seconds=5)
    assert queue.reclaim() == 0
    assert len(alive(there)) == 1
    Register(there).beat(0, 0)
    assert not WorkerProcess.objects.using(there).filter(state="dead").exists()
    assert queue.settle([Settlement(held, Move.COMPLETED)]) == [True]


@on("default", "mariadb")
def test_a_retry_waits_for_as_long_as_it_should(there, monkeypatch):
    clock = Clock(monkeypatch, there, BACK - 5 * MINUTE)
    queue, worker = OrmQueue(there, database=there), WorkerIdentity()
    queue.join(worker)
    queue.push(JobPayload(task="tests.testapp.tasks.noop", args=encode_call((), {}), max_attempts=3))
    (held,) = queue.reserve((), 1, worker.id)
    queue.settle([Settlement(held, Move.RETRY, delay=600)])
    assert queue.reserve((), 1, worker.id) == []
    clock.moment = BACK + 4 * MINUTE
    assert queue.reserve((), 1, worker.id) == []
    clock.moment = BACK + 5 * MINUTE
    assert len(queue.reserve((), 1, worker.id)) == 1
    assert not DelayedJob.objects.using(there).exists()


@on("default", "mariadb")
def test_what_was_done_in_the_second_hour_is_not_taken_for_a_clock_that_was_ahead(there, monkeypatch):
    rows = Rows(there)
    rows.make(schedule=every(minutes=10), at=BACK - 11 * MINUTE)
    rows.tick(BACK - 10 * MINUTE)
    Clock(monkeypatch, there, BACK)
    assert mend(there) == 0
