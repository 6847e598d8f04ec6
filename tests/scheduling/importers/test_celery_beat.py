"""django-celery-beat: its tables, and the setting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_jobqueue.jobs.schedule import at, cron, every
from django_jobqueue.scheduling.importers.found import NoSource
from tests.scheduling.importers.peers import CELERY_BEAT, NOON, insert, make_tables, read

pytestmark = pytest.mark.django_db

TASK = {
    **{"task": "shop.tasks.ship", "args": "[]", "kwargs": "{}", "headers": "{}", "enabled": True, "one_off": False},
    "total_run_count": 0,
}
LATER = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def beat():
    make_tables(CELERY_BEAT)
    crontab = {"minute": "0", "hour": "8", "day_of_month": "*", "month_of_year": "*", "day_of_week": "mon-fri"}
    insert("django_celery_beat_crontabschedule", id=1, timezone="Europe/Berlin", **crontab)
    insert("django_celery_beat_intervalschedule", id=1, every=10, period="minutes")
    insert("django_celery_beat_clockedschedule", id=1, clocked_time=LATER)


def add(name="one", id=1, **values):
    insert("django_celery_beat_periodictask", id=id, name=name, **{**TASK, **values})


def cron_of(**fields):
    row = {"minute": "*", "hour": "*", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*", **fields}
    insert("django_celery_beat_crontabschedule", id=7, timezone="UTC", **row)
    add(crontab_id=7)
    return read("celery-beat")["one"]


@pytest.mark.usefixtures("beat")
class TestTables:
    def test_a_crontab_with_all_that_is_known_of_it(self):
        add(crontab_id=1, args='[7, "express"]', kwargs='{"limit": 3}', queue="emails", start_time=NOON, expires=LATER)
        one = read("celery-beat")["one"]
        assert one.schedule == cron("0 8 * * 1-5", "Europe/Berlin")
        assert (one.task, list(one.args), one.kwargs) == ("shop.tasks.ship", [7, "express"], {"limit": 3})
        assert (one.queue, one.enabled, one.starts_at, one.ends_at) == ("emails", True, NOON, LATER)
        assert not one.notes

    @pytest.mark.parametrize(
        ("fields", "expression"),
        [
            ({"minute": "*/15"}, "*/15 * * * *"),
            ({"hour": "22-4"}, "* 0,1,2,3,4,22,23 * * *"),
            ({"hour": "20-4/3"}, "* 2,20,23 * * *"),
            ({"day_of_week": "sunday, wed"}, "* * * * 0,3"),
            ({"day_of_week": "fri-mon"}, "* * * * 0,1,5,6"),
            ({"month_of_year": "jan-mar,7"}, "* * * 1-3,7 *"),
            ({"day_of_month": "2-30/2"}, "* * 2-30/2 * *"),
        ],
    )
    def test_its_cron_in_the_words_of_cron(self, fields, expression):
        assert cron_of(**fields).schedule.expression == expression

    def test_days_that_must_match_twice_are_left_out_as_cron_takes_either(self):
        assert "either" in cron_of(day_of_month="1-7", day_of_week="mon").refused

    def test_an_interval_keeps_its_phase(self):
        add(interval_id=1, last_run_at=NOON - timedelta(minutes=3))
        one = read("celery-beat")["one"]
        assert one.schedule == every(minutes=10, start=NOON - timedelta(minutes=3))

    def test_a_clocked_one_and_one_that_runs_once_by_a_crontab(self):
        add("clocked", clocked_id=1, one_off=True)
        add("once", 2, crontab_id=1, one_off=True)
        add("ran", 3, crontab_id=1, one_off=True, enabled=False, total_run_count=1)
        found = read("celery-beat")
        assert found["clocked"].schedule == at(LATER)
        assert found["once"].schedule == at(datetime(2026, 3, 3, 7, tzinfo=UTC))
        assert found["ran"].refused

    def test_what_is_lost_is_said(self):
        more = {"exchange": "e", "routing_key": "r", "priority": 0, "expire_seconds": 60, "headers": '{"a": 1}'}
        add(interval_id=1, **more)
        notes = " ".join(read("celery-beat")["one"].notes)
        for word in ("exchange", "routing key", "priority", "expires", "headers"):
            assert word in notes

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"solar_id": 1}, "sun"),
            ({}, "no schedule"),
            ({"interval_id": 99}, "no schedule"),
            ({"interval_id": 1, "args": "[1,"}, "can't be read"),
            ({"interval_id": 1, "args": '{"a": 1}'}, "no JSON list"),
            ({"interval_id": 1, "task": "celery.backend_cleanup"}, "not needed"),
            ({"interval_id": 5}, "second"),
        ],
    )
    def test_what_can_not_be_says_why_and_hides_no_other(self, values, why):
        insert("django_celery_beat_intervalschedule", id=5, every=10, period="microseconds")
        add("bad", **values)
        add("good", 2, interval_id=1)
        found = read("celery-beat")
        assert why in found["bad"].refused
        assert not found["good"].refused

    def test_one_that_is_off_stays_off(self):
        add(interval_id=1, enabled=False)
        assert not read("celery-beat")["one"].enabled


def test_a_column_that_an_older_version_lacks():
    make_tables(CELERY_BEAT.replace(", timezone varchar(63)", ""))
    fields = {"minute": "1", "hour": "*", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*"}
    insert("django_celery_beat_crontabschedule", id=9, **fields)
    add(crontab_id=9)
    assert read("celery-beat")["one"].schedule == cron("1 * * * *", "UTC")


@pytest.mark.django_db(databases=["default", "postgres"])
def test_on_postgresql():
    make_tables(CELERY_BEAT, "postgres")
    insert("django_celery_beat_intervalschedule", "postgres", id=1, every=1, period="days")
    insert("django_celery_beat_periodictask", "postgres", id=1, name="one", interval_id=1, start_time=LATER, **TASK)
    one = read("celery-beat", database="postgres")["one"]
    assert (one.schedule, one.starts_at, one.enabled) == (every(days=1, start=LATER), LATER, True)


class Crontab:
    """As Celery's: the fields as they were given."""

    def __init__(self, **fields):
        for name in ("minute", "hour", "day_of_month", "month_of_year", "day_of_week"):
            setattr(self, f"_orig_{name}", fields.get(name, "*"))


class Schedule:
    run_every = timedelta(seconds=90)


class Solar:
    lat = 52


def test_entries_of_the_setting(settings):
    settings.CELERY_TIMEZONE = "Asia/Tokyo"
    settings.CELERY_BEAT_SCHEDULE = {
        "seconds": {"task": "t", "schedule": 30.0, "args": (1,), "kwargs": {"b": 2}, "options": {"queue": "q"}},
        "span": {"task": "t", "schedule": timedelta(hours=1), "options": {"expires": 5}},
        "cron": {"task": "t", "schedule": Crontab(minute=0, hour=[8, 9])},
        "schedule": {"task": "t", "schedule": Schedule()},
        "sun": {"task": "t", "schedule": Solar()},
        "nothing": {"task": "t"},
    }
    found = read("celery-beat")
    assert found["seconds"].schedule == every(seconds=30)
    assert (found["seconds"].args, found["seconds"].kwargs, found["seconds"].queue) == ((1,), {"b": 2}, "q")
    assert found["span"].schedule == every(hours=1)
    assert "expires" in found["span"].notes[0]
    assert found["cron"].schedule == cron("0 8,9 * * *", "Asia/Tokyo")
    assert found["schedule"].schedule == every(seconds=90)
    assert "sun" in found["sun"].refused
    assert "not known" in found["nothing"].refused


def test_the_table_is_newer_than_the_setting(settings, beat):
    settings.CELERY_BEAT_SCHEDULE = {"one": {"task": "t", "schedule": 5}, "two": {"task": "t", "schedule": 5}}
    add(interval_id=1)
    found = read("celery-beat")
    assert found["one"].task == "shop.tasks.ship"
    assert found["two"].task == "t"


def test_nothing_there():
    with pytest.raises(NoSource, match="django_celery_beat_periodictask"):
        read("celery-beat")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "entry", [None, "every day", {"task": "t", "schedule": 5, "options": "x"}, {"schedule": object()}]
)
def test_an_entry_that_is_none_hides_no_other(settings, entry):
    settings.CELERY_BEAT_SCHEDULE = {"bad": entry, "good": {"task": "t", "schedule": 5}}
    found = read("celery-beat")
    assert [name for name, one in found.items() if one.refused] == ["bad"]
