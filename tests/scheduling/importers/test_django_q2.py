"""django-q2: its table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_jobqueue.jobs.schedule import at, cron, every
from django_jobqueue.scheduling.importers.found import NoSource
from tests.scheduling.importers.peers import DJANGO_Q2, NOON, insert, make_tables, read

pytestmark = pytest.mark.django_db

NEXT = datetime(2026, 3, 5, 9, 15, 30, tzinfo=UTC)  # a Thursday, 10:15:30 in Berlin
BERLIN = "Europe/Berlin"


@pytest.fixture
def q2():
    make_tables(DJANGO_Q2)


def add(id=1, **values):
    insert("django_q_schedule", **{"id": id, "func": "shop.tasks.ship", "repeats": -1, "next_run": NEXT, **values})


@pytest.mark.usefixtures("q2")
class TestTable:
    @pytest.mark.parametrize(
        ("kind", "schedule"),
        [
            ("O", at(NEXT)),
            ("I", every(minutes=7, start=NEXT)),
            ("H", every(hours=1, start=NEXT)),
            ("D", cron("15 10 * * *", BERLIN)),
            ("W", cron("15 10 * * 4", BERLIN)),
            ("BW", every(weeks=2, start=NEXT)),
            ("M", cron("15 10 5 * *", BERLIN)),
            ("BM", cron("15 10 5 1,3,5,7,9,11 *", BERLIN)),
            ("Q", cron("15 10 5 3,6,9,12 *", BERLIN)),
            ("Y", cron("15 10 5 3 *", BERLIN)),
        ],
    )
    def test_each_of_its_types(self, kind, schedule):
        add(name="one", schedule_type=kind, minutes=7)
        one = read("django-q2")["one"]
        assert one.schedule == schedule
        assert one.schedule.next_after(NEXT - timedelta(minutes=1)) in (NEXT, NEXT.replace(second=0))

    def test_cron_has_its_seconds_first_here(self):
        add(name="five", schedule_type="C", cron="*/5 * * * *")
        add(2, name="six", schedule_type="C", cron="0 8 * * 1 30")
        found = read("django-q2")
        assert found["five"].schedule == cron("*/5 * * * *", BERLIN)
        assert found["six"].schedule == cron("30 0 8 * * 1", BERLIN, seconds=True)

    def test_its_time_zone_is_that_of_the_cluster(self, settings):
        settings.Q_CLUSTER = {"time_zone": "America/New_York"}
        add(name="one", schedule_type="D")
        assert read("django-q2")["one"].schedule == cron("15 4 * * *", "America/New_York")

    def test_it_does_not_begin_earlier_and_ends_after_as_many_runs(self):
        add(name="one", schedule_type="D", repeats=3)
        one = read("django-q2")["one"]
        first = NEXT.replace(second=0)
        assert (one.starts_at, one.ends_at) == (first, first + timedelta(days=2))

    @pytest.mark.parametrize(
        ("args", "kwargs", "call"),
        [
            ("1, 2, 'John'", None, ((1, 2, "John"), {})),
            ("7", "x=1, name='a'", ((7,), {"x": 1, "name": "a"})),
            ("", "{'x': [1, None]}", ((), {"x": [1, None]})),
            ("[1, 2]", "", (([1, 2],), {})),
        ],
    )
    def test_arguments_are_read_as_it_reads_them(self, args, kwargs, call):
        add(name="one", schedule_type="H", args=args, kwargs=kwargs)
        one = read("django-q2")["one"]
        assert (one.args, one.kwargs) == call

    @pytest.mark.parametrize(
        "values",
        [
            {"args": "__import__('os').getcwd()"},
            {"args": "1 +"},
            {"kwargs": "x=print()"},
            {"kwargs": "**{'x': 1}"},
            {"kwargs": "1"},
            {"kwargs": "x=1) or (2"},
            {"args": "(" * 5000},
            {"schedule_type": "Z"},
            {"schedule_type": "C", "cron": "61 * * * *"},
            {"schedule_type": "M", "next_run": NEXT.replace(day=31)},
            {"schedule_type": "O", "next_run": NOON - timedelta(days=1)},
            {"repeats": 0},
            {"repeats": 100_000},
            {"next_run": None},
            {"intended_date_kwarg": "when"},
        ],
        ids=str,
    )
    def test_what_can_not_be_says_why_and_hides_no_other(self, values):
        add(**{"name": "bad", "schedule_type": "H", **values})
        add(2, name="good", schedule_type="H")
        found = read("django-q2")
        assert found["bad"].refused
        assert not found["good"].refused

    def test_what_is_lost_is_said(self):
        add(name="one", schedule_type="BW", hook="a.b", cluster="long", kwargs="{'q_options': {'timeout': 3}}")
        one = read("django-q2")["one"]
        notes = " ".join(one.notes)
        for word in ("hook", "cluster", "timeout", "two weeks"):
            assert word in notes
        assert one.kwargs == {}

    def test_names_stay_the_same_when_more_come(self):
        add(3, schedule_type="H")
        add(4, name="twice", schedule_type="H")
        assert set(read("django-q2")) == {"shop.tasks.ship #3", "twice"}
        add(5, name="twice", schedule_type="H")
        assert set(read("django-q2")) == {"shop.tasks.ship #3", "twice", "twice #5"}


def test_nothing_there():
    with pytest.raises(NoSource, match="django_q_schedule"):
        read("django-q2")
