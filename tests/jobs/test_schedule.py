from __future__ import annotations

import copy
import pickle
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from django_jobqueue import at, cron, every, manual
from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs.schedule import EPOCH, At, Cron, Every, schedule_of
from tests.jobs.oracle import EXPRESSIONS

unhurried = settings(deadline=None, max_examples=200)  # the machine may be busy with the other tests
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca")
INSTANT = timedelta.resolution

moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))
near_changes = st.builds(
    lambda change, offset: change + offset,
    st.sampled_from([datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)]),
    st.timedeltas(timedelta(hours=-30), timedelta(hours=30)),
)
intervals = st.builds(
    Every,
    st.integers(1, 400_000_000).map(lambda seconds: timedelta(seconds=seconds)),
    st.one_of(st.just(EPOCH), moments),
)
crons = st.builds(Cron, st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES))


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class TestTicks:
    @unhurried
    @given(st.one_of(intervals, crons), st.one_of(moments, near_changes))
    def test_the_next_and_the_last_tick_agree(self, schedule, moment):
        following, last = schedule.next_after(moment), schedule.last_until(moment)
        assert following > moment
        assert schedule.last_until(following) == following == schedule.next_after(following - INSTANT)
        assert schedule.last_until(following - INSTANT) == last
        if last is not None:
            assert last <= moment
            assert schedule.next_after(last) == following
            assert schedule.last_until(last) == last == schedule.next_after(last - INSTANT)

    @unhurried
    @given(intervals, moments)
    def test_an_interval_keeps_its_rhythm_whatever_the_clocks_do(self, schedule, moment):
        following = schedule.next_after(moment)
        assert (following - schedule.start) % schedule.interval == timedelta(0)
        assert schedule.next_after(following) - following == schedule.interval
        assert following == schedule.start or following - moment <= schedule.interval

    @unhurried
    @given(st.one_of(intervals, crons), moments, st.sampled_from(ZONES))
    def test_a_moment_may_come_in_any_zone(self, schedule, moment, zone):
        assert schedule.next_after(moment.astimezone(ZoneInfo(zone))) == schedule.next_after(moment)
        assert schedule.next_after(moment).tzinfo is UTC

    def test_every_process_has_the_same_ticks(self):
        assert every(minutes=10).next_after(utc("2026-01-01 00:03")) == utc("2026-01-01 00:10")
        assert every(minutes=10).last_until(utc("2026-01-01 00:03")) == utc("2026-01-01 00:00")

    def test_an_interval_starts_at_its_start(self):
        start = utc("2026-01-01 00:03")
        hourly = every(hours=1, start=start)
        assert hourly.next_after(start - timedelta(days=400)) == start
        assert hourly.last_until(start - INSTANT) is None
        assert hourly.next_after(start) == utc("2026-01-01 01:03")

    def test_a_moment_is_one_tick(self):
        moment = utc("2026-12-24 18:00")
        assert at(moment).next_after(moment - INSTANT) == moment == at(moment).last_until(moment)
        assert at(moment).next_after(moment) is None is at(moment).last_until(moment - INSTANT)

    def test_by_hand_has_none(self):
        assert manual().next_after(EPOCH) is None is manual().last_until(EPOCH)

    @pytest.mark.parametrize(
        "schedule", [cron("0 8 * * 1-5", "Europe/Berlin"), every(minutes=1), at(EPOCH)], ids=lambda one: one.kind
    )
    def test_a_naive_moment_is_refused(self, schedule):
        for ask in (schedule.next_after, schedule.last_until):
            with pytest.raises(InvalidSchedule, match="no time zone"):
                ask(datetime(2026, 1, 1))
            with pytest.raises(InvalidSchedule, match="a datetime, not str"):
                ask("2026-01-01")

    def test_ten_years_of_downtime_are_no_walk(self):
        """A walk through ten years of minutes takes a minute; the allowance is for a machine that is busy."""
        begun = time.thread_time()
        for schedule in (cron("* * * * *", "America/New_York"), every(seconds=1), cron("0 0 29 2 *", "UTC")):
            last = schedule.last_until(utc("2036-11-26 08:00"))
            assert schedule.next_after(last) > utc("2036-11-26 08:00")
        assert time.thread_time() - begun < 1


class TestValues:
    @unhurried
    @given(st.one_of(intervals, crons, st.builds(at, moments), st.just(manual())))
    def test_what_a_row_stores_comes_back_as_the_same_value(self, schedule):
        assert schedule_of(schedule.kind, schedule.expression, schedule.timezone) == schedule
        assert len(schedule.expression) <= 200
        assert pickle.loads(pickle.dumps(schedule)) == copy.copy(schedule) == schedule
        assert len({schedule, copy.deepcopy(schedule)}) == 1

    def test_the_zone_of_the_project_is_the_default(self, settings):
        settings.TIME_ZONE = "Asia/Tokyo"
        timezone.get_default_timezone.cache_clear()
        assert cron("0 8 * * *").timezone == "Asia/Tokyo"

    def test_white_space_is_no_difference(self):
        assert cron("  0 \t8 * *  *") == cron("0 8 * * *")

    def test_the_zone_of_a_moment_is_kept_for_the_words(self):
        evening = at(datetime(2026, 12, 24, 18, tzinfo=ZoneInfo("Europe/Berlin")))
        assert (evening.moment, evening.timezone) == (utc("2026-12-24 17:00"), "Europe/Berlin")
        assert at(evening.moment).timezone == "UTC"

    @pytest.mark.parametrize(
        ("text", "interval"),
        [
            *[("10 minutes", 600), ("10m", 600), ("1h30m", 5400), ("1 hour 30 minutes", 5400), ("2 hrs", 7200)],
            *[("day", 86_400), ("every 2 weeks", 1_209_600), ("1 hour and 1 second", 3601), ("90 SEC", 90)],
        ],
    )
    def test_intervals_are_read_as_people_write_them(self, text, interval):
        assert schedule_of("interval", text) == every(seconds=interval)

    def test_a_moment_without_offset_is_local(self):
        assert schedule_of("once", "2026-07-01 18:00", "Europe/Berlin").moment == utc("2026-07-01 16:00")
        assert schedule_of("once", "2026-07-01 18:00+00:00", "Europe/Berlin").moment == utc("2026-07-01 18:00")
        assert schedule_of("once", "2026-03-29 02:30", "Europe/Berlin").moment == utc("2026-03-29 01:00")


REFUSED = [
    (lambda: every(), r"needs a length. Write every\(minutes=10\)"),
    (lambda: every(seconds=0), "needs a length"),
    (lambda: every(minutes=-1), "from 1 second"),
    (lambda: every(seconds=0.2), "from 1 second"),
    (lambda: every(seconds=1.5), "whole seconds"),
    (lambda: every(days=40_000), "36,525 days"),
    (lambda: every(days=1e12), "made of numbers"),
    (lambda: every(hours=float("nan")), "made of numbers"),
    (lambda: every(hours="1"), "made of numbers"),
    (lambda: every(hours=1, start=datetime(2026, 1, 1)), "no time zone"),
    (lambda: at(datetime(2026, 1, 1)), "no time zone"),
    (lambda: at("2026-01-01"), "not str"),
    (lambda: cron("0 8 * * *", "Berlin"), "'Berlin' is no time zone. Did you mean Europe/Berlin"),
    (lambda: cron("0 8 * * *", "europe/berlin"), "Did you mean Europe/Berlin"),
    (lambda: cron("0 8 * * *", "America/New_Yrok"), "America/New_York"),
    (lambda: cron("0 8 * * *", "Europe"), "no time zone"),
    (lambda: cron("0 8 * * *", "localtime"), "Write one like"),
    (lambda: cron("0 8 * * *", "../../etc/passwd"), "no time zone"),
    (lambda: cron("0 8 * * *", "x" * 5000), "no time zone"),
    (lambda: cron("0 8 * * *", "a\0b"), "no time zone"),
    (lambda: cron("0 8 * * *", 5), "timezone is a text, not int"),
    (lambda: cron("0 8 * * *", ["UTC"]), "timezone is a text, not list"),
    (lambda: cron("0 8 * * *", "\ud800"), "no time zone"),
    (lambda: At(EPOCH, []), "timezone is a text, not list"),
    (lambda: Every(600), "a timedelta, not int"),
    (lambda: schedule_of("interval", "3 parsecs"), "'3 parsecs' is no interval. Write it like"),
    (lambda: schedule_of("interval", "10"), "no interval"),
    (lambda: schedule_of("interval", ""), "needs a length"),
    (lambda: schedule_of("interval", "99999999999 weeks"), "at most"),
    (lambda: schedule_of("interval", "1 day from yesterday"), "'yesterday' is no moment"),
    (lambda: schedule_of("once", "tomorrow"), "no moment. Write it like '2026-12-24 18:00'"),
    (lambda: schedule_of("once", "2011-12-30 12:00", "Pacific/Apia"), "skipped that day"),
    (lambda: schedule_of("once", "9999-12-31 23:59", "America/New_York"), "outside of the calendar"),
    (lambda: at(datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))), "outside of the calendar"),
    (lambda: schedule_of("interval", None), "a text, not NoneType"),
    (lambda: schedule_of("sometimes", ""), "cron, interval, once or manual"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_what_makes_no_sense_is_refused_with_words(make, said):
    with pytest.raises(InvalidSchedule, match=said):
        make()
