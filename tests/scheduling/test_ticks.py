"""P7: which ticks become jobs, compared with a list of all of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobqueue.jobs.schedule import at, cron, every, manual
from django_jobqueue.scheduling.ticks import MOST_AT_ONCE, Misfires, decide, jitter_of, next_tick, tick_id

START = datetime(2026, 3, 28, 22, 7, tzinfo=UTC)
SCHEDULES = [
    every(minutes=1),
    every(minutes=7),
    every(hours=1, start=START),
    cron("*/5 * * * *", timezone="Europe/Berlin"),  # its clocks go forward that night
    cron("30 2 * * *", timezone="Europe/Berlin"),
    at(START + timedelta(minutes=5)),
]
POLICIES = st.builds(
    Misfires,
    st.sampled_from(["skip", "once", "all"]),
    st.integers(1, 20),
    st.sampled_from([0.0, 1.0, 60.0, 600.0, 7_200.0]),
)
MINUTES = st.integers(0, 600)


def all_ticks(schedule, first, until):
    found = []
    while first is not None and first <= until:
        found.append(first)
        first = schedule.next_after(first)
    return found


def plainly(ticks, now, misfires):
    """The policy, over a list."""
    cutoff = now - timedelta(seconds=misfires.grace)
    missed = [one for one in ticks if one < cutoff]
    fresh = [one for one in ticks if one >= cutoff]
    if misfires.policy == "skip":
        return fresh
    if misfires.policy == "once":
        return fresh or missed[-1:]
    return missed[-misfires.limit :] + fresh


@given(st.sampled_from(SCHEDULES), MINUTES, POLICIES, st.none() | MINUTES)
def test_what_becomes_a_job_is_what_the_policy_says(schedule, minutes, misfires, end):
    first = schedule.next_after(START)
    now = START + timedelta(minutes=minutes, seconds=1)
    ends_at = None if end is None else START + timedelta(minutes=end)
    if ends_at is not None and first > ends_at:
        return
    until = now if ends_at is None else min(now, ends_at)
    ticks = all_ticks(schedule, first, until)
    wanted = plainly(ticks, now, misfires)
    got, planned = [], first
    while True:
        decision = decide(schedule, planned, now, misfires, ends_at)
        assert len(decision.ticks) <= MOST_AT_ONCE
        got += decision.ticks
        if decision.next is None or decision.next > now:
            break
        assert decision.decided < decision.next, "a row never goes back"
        planned = decision.next
        misfires = misfires._replace(limit=1_000)  # what is left was chosen before
    if misfires.policy == "once":  # in pieces, the last piece alone is looked at
        assert got == wanted or len(wanted) > MOST_AT_ONCE
    else:
        assert got == wanted
    if ticks:
        assert decision.decided == ticks[-1]
        assert decision.next == next_tick(schedule, ticks[-1], ends_at)
    else:
        assert decision.next == (first if ends_at is None or first <= ends_at else None)


def test_more_than_fits_into_one_transaction_follows_in_the_next():
    schedule, misfires = every(seconds=1), Misfires(grace=3_600.0)
    got, planned, now = [], START + timedelta(seconds=1), START + timedelta(seconds=250)
    while planned <= now:
        decision = decide(schedule, planned, now, misfires)
        got += decision.ticks
        planned = decision.next
    assert got == all_ticks(schedule, START + timedelta(seconds=1), now)


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
@pytest.mark.parametrize("schedule", [every(seconds=1), cron("* * * * *", "Europe/Berlin"), cron("0 8 * * 1-5", "UTC")])
def test_ten_years_of_downtime_cost_nothing(schedule, policy):
    now = START + timedelta(days=3_652)
    began = time.thread_time()
    decision = decide(schedule, schedule.next_after(START), now, Misfires(policy, 100, 60.0))
    assert time.thread_time() - began < 1.0
    assert decision.next > now or len(decision.ticks) == MOST_AT_ONCE


def test_what_was_planned_counts_though_the_zone_has_changed_its_mind():
    """A tick that the schedule would not give any more, since the zone's rules were updated meanwhile."""
    planned = START.replace(minute=13)
    decision = decide(every(hours=1), planned, planned + timedelta(seconds=5), Misfires())
    assert decision.ticks == [planned]
    assert decision.next == START.replace(hour=23, minute=0)


def test_once_is_once():
    schedule = at(START)
    assert decide(schedule, START, START, Misfires()) == ([START], START, None)
    late = START + timedelta(days=400)
    assert decide(schedule, START, late, Misfires()).ticks == [START]
    assert decide(schedule, START, late, Misfires("skip")) == ([], START, None)
    assert next_tick(manual(), START) is None


def test_the_id_of_a_tick_is_the_same_everywhere():
    there = START.astimezone(ZoneInfo("Asia/Tokyo"))
    assert tick_id("nightly", START) == tick_id("nightly", there) == UUID("66cb349b-2a86-5784-a6e8-cb28c4a187ab")
    assert tick_id("nightly", START) != tick_id("nightly", START + timedelta(microseconds=1))
    assert tick_id("a", START) != tick_id("b", START)


def test_jitter_is_the_same_everywhere_and_spread_evenly():
    ticks = [START + timedelta(minutes=n) for n in range(1_000)]
    spread = [jitter_of("nightly", tick, 10.0) for tick in ticks]
    assert spread == [jitter_of("nightly", tick, 10.0) for tick in ticks]
    assert min(spread) < 0.5
    assert 9.5 < max(spread) < 10.0
    assert 4.5 < sum(spread) / 1_000 < 5.5
