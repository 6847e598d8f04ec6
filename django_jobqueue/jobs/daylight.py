"""The rule of daylight saving: which moments a cron expression names on the clocks of a zone.

A fixed local time (no `*` in minute and hour) comes once on each date there is: at the first of two occurrences when
the clocks go back, right after the gap when they skip it, and not on a date that the zone skips as a whole. In other
words: when the clocks first reach it. Two times in one gap are reached at the same moment, which is one tick.

Any other expression follows real time: each moment whose local time it names, so none in a gap and both in a repeated
hour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django_jobqueue.jobs.cron import Pattern
from django_jobqueue.jobs.zones import INSTANT, first_reached, gap_around, moments_of, repeat_around, shown_at, sides


def next_tick(pattern: Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The first tick strictly after `moment`, in UTC; None when there is none."""
    try:
        return (_next_fixed if pattern.is_fixed else _next_real)(pattern, zone, moment.astimezone(UTC))
    except OverflowError:  # the calendar ends with the year 9999
        return None


def last_tick(pattern: Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The last tick not after `moment`, in UTC; None when there is none."""
    try:
        return (_last_fixed if pattern.is_fixed else _last_real)(pattern, zone, moment.astimezone(UTC))
    except OverflowError:
        return None


def _next_fixed(pattern: Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    local = pattern.at_or_after(_furthest_shown(zone, moment) + INSTANT)
    while local is not None:
        tick = first_reached(zone, local)
        if tick is not None:
            return tick
        local = pattern.at_or_after(_after_gap(zone, local))
    return None


def _last_fixed(pattern: Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    local = pattern.at_or_before(_furthest_shown(zone, moment))
    while local is not None:
        tick = first_reached(zone, local)
        if tick is not None:
            return tick
        local = pattern.at_or_before(_before_gap(zone, local))
    return None


def _next_real(pattern: Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    shown = shown_at(zone, moment)
    local = pattern.at_or_after(shown + INSTANT)
    back = repeat_around(zone, shown)
    if back is not None and moment < back:
        before, after = sides(zone, back)
        if local is None or local >= before:  # nothing more until the clocks go back
            local = pattern.at_or_after(after)
    while local is not None:
        for tick in moments_of(zone, local):
            if tick > moment:
                return tick
        local = pattern.at_or_after(_after_gap(zone, local))
    return None


def _last_real(pattern: Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    shown = shown_at(zone, moment)
    local = pattern.at_or_before(shown)
    back = repeat_around(zone, shown)
    if back is not None and moment >= back:
        before, after = sides(zone, back)
        if local is None or local < after:  # nothing yet since the clocks went back
            local = pattern.at_or_before(before - INSTANT)
    while local is not None:
        for tick in reversed(moments_of(zone, local)):
            if tick <= moment:
                return tick
        local = pattern.at_or_before(_before_gap(zone, local))
    return None


def _furthest_shown(zone: ZoneInfo, moment: datetime) -> datetime:
    """The latest time the clocks have shown up to `moment`: later than what they show while they repeat an hour."""
    shown = shown_at(zone, moment)
    back = repeat_around(zone, shown)
    return shown if back is None or moment < back else sides(zone, back)[0] - INSTANT


def _after_gap(zone: ZoneInfo, local: datetime) -> datetime:
    return sides(zone, gap_around(zone, local))[1]


def _before_gap(zone: ZoneInfo, local: datetime) -> datetime:
    return sides(zone, gap_around(zone, local))[0] - INSTANT
