from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django_jobqueue import at, cron, every, manual
from django_jobqueue.jobs.schedule import schedule_of


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class TestWhatARowStores:
    def test_comes_back_as_the_same_value(self):
        moment = utc("2026-12-24 18:00")
        for schedule in [cron("0 8 * * 1-5", "Europe/Berlin"), every(days=1, minutes=90), at(moment), manual()]:
            assert schedule_of(schedule.kind, schedule.expression, schedule.timezone) == schedule


class TestEvery:
    def test_ticks_are_the_same_for_everybody(self):
        assert every(minutes=10).next_after(utc("2026-01-01 00:03")) == utc("2026-01-01 00:10")
        assert every(minutes=10).last_until(utc("2026-01-01 00:03")) == utc("2026-01-01 00:00")

    def test_starts_at_its_start(self):
        start = utc("2026-01-01 00:03")
        hourly = every(hours=1, start=start)
        assert hourly.next_after(start - timedelta(days=400)) == start
        assert hourly.last_until(start - timedelta(seconds=1)) is None
        assert hourly.next_after(start) == utc("2026-01-01 01:03")
