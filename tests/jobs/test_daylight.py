"""The rule of daylight saving, case by case. tests/jobs/oracle.py has the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_jobqueue.jobs.schedule import Cron
from tests.jobs import oracle


def ticks(expression, zone, first, last, seconds=False):
    """Each tick in [first, last), found forward, as `day hour:minute offset` of the zone; backward finds the same."""
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    schedule, found = Cron(expression, zone, seconds), []
    tick = schedule.next_after(start - timedelta.resolution)
    while tick is not None and tick < end:
        found.append(tick)
        tick = schedule.next_after(tick)
    assert backward(schedule, start, end) == found
    return [shown(tick, zone) for tick in found]


def backward(schedule, start, end):
    found, tick = [], schedule.last_until(end - timedelta.resolution)
    while tick is not None and tick >= start:
        found.insert(0, tick)
        tick = schedule.last_until(tick - timedelta.resolution)
    return found


def shown(tick, zone):
    local = tick.astimezone(ZoneInfo(zone))
    return f"{local:%d %H:%M}{local:%z}"[:11]


class TestSpring:
    """Berlin, 29 March 2026: 02:00 becomes 03:00."""

    when = ("2026-03-28T12:00", "2026-03-30T12:00")

    def test_a_fixed_time_in_the_gap_comes_right_after_it(self):
        assert ticks("30 2 * * *", "Europe/Berlin", *self.when) == ["29 03:00+02", "30 02:30+02"]

    def test_two_fixed_times_in_the_gap_are_one_tick(self):
        assert ticks("0,30 2 * * *", "Europe/Berlin", *self.when) == ["29 03:00+02", "30 02:00+02", "30 02:30+02"]

    def test_what_is_moved_onto_another_fixed_time_is_one_tick(self):
        assert ticks("30 2,3 29 3 *", "Europe/Berlin", *self.when) == ["29 03:00+02", "29 03:30+02"]
        assert ticks("0 2,3 29 3 *", "Europe/Berlin", *self.when) == ["29 03:00+02"]

    def test_a_rhythm_has_none_in_the_gap(self):
        assert ticks("*/30 1-3 29 * *", "Europe/Berlin", *self.when) == [
            *("29 01:00+01", "29 01:30+01", "29 03:00+02", "29 03:30+02")
        ]
        assert ticks("0 */2 29 * *", "Europe/Berlin", *self.when)[:3] == ["29 00:00+01", "29 04:00+02", "29 06:00+02"]

    def test_a_rhythm_that_lives_in_the_gap_waits_for_the_next_day(self):
        assert ticks("*/30 2 * * *", "Europe/Berlin", *self.when) == ["30 02:00+02", "30 02:30+02"]


class TestAutumn:
    """Berlin, 25 October 2026: 03:00 becomes 02:00."""

    when = ("2026-10-24T12:00", "2026-10-26T12:00")

    def test_a_fixed_time_comes_once_at_the_first_occurrence(self):
        assert ticks("30 2 * * *", "Europe/Berlin", *self.when) == ["25 02:30+02", "26 02:30+01"]

    def test_fixed_times_around_it_are_left_alone(self):
        assert ticks("59 1-3 25 * *", "Europe/Berlin", *self.when) == ["25 01:59+02", "25 02:59+02", "25 03:59+01"]

    def test_a_rhythm_has_both(self):
        assert ticks("*/30 2 25 * *", "Europe/Berlin", *self.when) == [
            *("25 02:00+02", "25 02:30+02", "25 02:00+01", "25 02:30+01")
        ]

    @pytest.mark.parametrize("first", ["2026-10-25T00:10", "2026-10-25T01:10"])
    def test_a_scheduler_that_starts_in_the_repeated_hour_makes_no_second_tick(self, first):
        assert ticks("5 2 * * *", "Europe/Berlin", first, "2026-10-26T00:00") == []

    def test_many_fixed_times_are_each_once(self):
        assert len(ticks("0-59 2 25 * *", "Europe/Berlin", *self.when)) == 60
        assert len(ticks("0-59 0-59/7 2 25 * *", "Europe/Berlin", *self.when, seconds=True)) == 540


class TestOddZones:
    def test_half_an_hour_on_lord_howe(self):
        autumn, spring = ("2026-04-04T12:00", "2026-04-04T18:00"), ("2026-10-03T12:00", "2026-10-03T18:00")
        howe = "Australia/Lord_Howe"  # back at 02:00 to 01:30, and forth at 02:00 to 02:30
        assert ticks("45 1 * * *", howe, *autumn) == ["05 01:45+11"]
        assert ticks("*/15 1 * * *", howe, *autumn)[-2:] == ["05 01:30+10", "05 01:45+10"]
        assert ticks("0,15,40 2 * * *", howe, *spring) == ["04 02:30+11", "04 02:40+11"]

    def test_a_gap_at_midnight(self):
        when = ("2026-04-23T12:00", "2026-04-25T12:00")  # Cairo: the 24th begins at 01:00
        assert ticks("0 0 * * *", "Africa/Cairo", *when) == ["24 01:00+03", "25 00:00+03"]
        assert ticks("*/30 0 * * *", "Africa/Cairo", *when) == ["25 00:00+03", "25 00:30+03"]

    def test_a_gap_over_midnight_moves_a_time_to_the_next_date(self):
        when = ("2024-03-30T12:00", "2024-03-31T12:00")  # Nuuk: 30 March, 23:00 becomes 24:00
        assert ticks("30 23 30 3 *", "America/Nuuk", *when) == ["31 00:00-01"]
        assert ticks("*/30 22-23 * * *", "America/Nuuk", *when) == ["30 22:00-02", "30 22:30-02"]

    def test_a_date_that_is_skipped_as_a_whole_has_no_tick(self):
        when = ("2011-12-29T12:00", "2012-01-01T12:00")  # Samoa has no 30 December 2011
        assert ticks("0 8 * * *", "Pacific/Apia", *when) == ["29 08:00-10", "31 08:00+14", "01 08:00+14"]
        assert ticks("0 8 30 12 *", "Pacific/Apia", *when) == []
        assert ticks("0 */12 30-31 * *", "Pacific/Apia", *when) == ["31 00:00+14", "31 12:00+14"]

    def test_a_day_that_comes_twice(self):
        when = ("1969-09-29T12:00", "1969-10-02T12:00")  # Kwajalein went back by 23 hours
        assert ticks("0 8 * * *", "Pacific/Kwajalein", *when) == ["30 08:00+11", "01 08:00-12"]
        assert len(ticks("0 * 30 9 *", "Pacific/Kwajalein", *when)) == 24 + 23

    def test_clocks_that_go_back_for_ramadan(self):
        when = ("2026-02-14T12:00", "2026-02-16T12:00")  # Casablanca: 15 February, 03:00 becomes 02:00
        assert ticks("30 2 * * *", "Africa/Casablanca", *when) == ["15 02:30+01", "16 02:30+00"]

    def test_offsets_with_seconds(self):
        when = ("1972-01-06T12:00", "1972-01-07T12:00")  # Monrovia: 7 January 1972, 00:00 became 00:44:30
        zone = ZoneInfo("Africa/Monrovia")
        schedule = Cron("* * * * *", zone.key)
        last = schedule.last_until(datetime(1972, 1, 7, 0, 44, 29, tzinfo=UTC))
        assert last == datetime(1972, 1, 7, 0, 43, 30, tzinfo=UTC)  # 23:59 on the clocks
        assert schedule.next_after(last) == datetime(1972, 1, 7, 0, 45, tzinfo=UTC)
        assert ticks("20 0 * * *", zone.key, *when) == ["07 00:44+00"]


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(oracle.zones()), st.integers(2000, 2037), st.integers(0, 23), st.integers(0, 59))
def test_a_daily_job_runs_once_on_each_date_there_is(zone, year, hour, minute):
    clocks = ZoneInfo(zone)
    start, end = (datetime(one, 1, 1, tzinfo=clocks).astimezone(UTC) for one in (year, year + 1))
    hours = (start + timedelta(hours=passed) for passed in range((end - start) // timedelta(hours=1)))
    dates = {moment.astimezone(clocks).date() for moment in hours}
    assert len(ticks(f"{minute} {hour} * * *", zone, *(f"{one:%Y-%m-%dT%H:%M}" for one in (start, end)))) == len(dates)


def test_the_calendar_ends():
    schedule = Cron("0 0 1 1 *", "Pacific/Apia")
    assert schedule.next_after(datetime(9999, 12, 31, tzinfo=UTC)) is None
    assert schedule.last_until(datetime(1, 1, 1, tzinfo=UTC)) is None
