"""P7: one job per (schedule, tick); policies for what is missed and what overlaps."""

from __future__ import annotations

from datetime import timedelta

from django_jobqueue.scheduling.ticks import tick_id
from tests.scheduling.conftest import hours

SECOND = timedelta(seconds=1)


def test_a_tick_becomes_one_job_and_the_next_one_is_planned(rows):
    rows.make()
    assert rows.tick(hours(1) - SECOND).outcomes == []
    (outcome,) = rows.tick(hours(1)).outcomes
    assert outcome == ("hourly", hours(1), tick_id("hourly", hours(1)), "dispatched", "")
    assert [job.pk for job in rows.jobs()] == [tick_id("hourly", hours(1))]
    row = rows.get()
    assert (row.last_run_at, row.next_run_at, row.due_at) == (hours(1), hours(2), hours(2))
    assert row.last_job_id == tick_id("hourly", hours(1))
    assert rows.tick(hours(1) + SECOND).outcomes == []


def test_the_next_tick_is_computed_from_the_planned_one_and_not_from_the_clock(rows):
    rows.make()
    rows.tick(hours(1) + 50 * SECOND)
    assert rows.get().next_run_at == hours(2)
