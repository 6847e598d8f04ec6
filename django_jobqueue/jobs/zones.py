"""Local times and real moments: which moment the clocks of a zone show a time at, where they skip and repeat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


def shown_at(zone: ZoneInfo, moment: datetime) -> datetime:
    """What the clocks show, as a naive time."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def moments_of(zone: ZoneInfo, local: datetime) -> list[datetime]:
    """The moments at which the clocks show `local`, in order: none in a gap, two where it is repeated."""
    found = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return sorted({moment for moment in found if shown_at(zone, moment) == local})


def first_reached(zone: ZoneInfo, local: datetime) -> datetime | None:
    """The moment the clocks first show `local`, or, when they skip it, the first one after.

    None on a date that the zone skips as a whole.
    """
    first = local.replace(tzinfo=zone).astimezone(UTC)
    if shown_at(zone, first) == local:
        return first
    change = gap_around(zone, local)
    before, after = sides(zone, change)
    midnight = datetime.combine(local.date(), datetime.min.time())
    if before <= midnight and after >= midnight + _DAY:
        return None
    return change


def gap_around(zone: ZoneInfo, local: datetime) -> datetime:
    """The moment of the change that skips `local`."""
    later, earlier = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return change_between(zone, earlier, later)


def sides(zone: ZoneInfo, change: datetime) -> tuple[datetime, datetime]:
    """What the clocks would have shown at a change of the offset, and what they show instead."""
    return shown_at(zone, change - _SECOND) + _SECOND, shown_at(zone, change)


def change_between(zone: ZoneInfo, earlier: datetime, later: datetime) -> datetime:
    """The moment in (earlier, later] from which the zone has the offset it has at `later`; there is one such change."""
    offset = later.astimezone(zone).utcoffset()
    low, high = 0, round((later - earlier) / _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if (earlier + middle * _SECOND).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return earlier + high * _SECOND


def furthest_shown(zone: ZoneInfo, moment: datetime) -> datetime:
    """The latest time the clocks have shown up to now: later than what they show while an hour is repeated."""
    local = moment.astimezone(zone)
    if not local.fold:
        return local.replace(tzinfo=None)
    change = change_between(zone, local.replace(fold=0).astimezone(UTC), moment)
    return sides(zone, change)[0] - timedelta.resolution
