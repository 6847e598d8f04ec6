"""Local times and real moments: when the clocks of a zone show a time, and where they skip and repeat some.

Changes of the offset lie days apart (the closest two in the database of time zones: four), so each function here meets
one at most.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django_jobqueue.exceptions import InvalidSchedule

INSTANT = timedelta.resolution
_NOT_THE_SAME_EVERYWHERE = frozenset({"localtime"})
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


@lru_cache(maxsize=1024)  # zoneinfo itself keeps eight
def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises InvalidSchedule, with the names that were perhaps meant."""
    if name not in _NOT_THE_SAME_EVERYWHERE:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # a folder or a long name are OSErrors
            pass
    raise InvalidSchedule(f"{str(name)[:64]!r} is no time zone.{_meant(str(name)[:64])}")


def _meant(name: str) -> str:
    known = {key.lower(): key for key in available_timezones() - _NOT_THE_SAME_EVERYWHERE}
    wanted = name.lower().replace(" ", "_")
    places = [key for low, key in known.items() if wanted in (low, low.rpartition("/")[2])]
    found = sorted(places) or [known[low] for low in difflib.get_close_matches(wanted, known, 3)]
    return f" Did you mean {' or '.join(found)}?" if found else " Write one like Europe/Berlin, or UTC."


def shown_at(zone: ZoneInfo, moment: datetime) -> datetime:
    """What the clocks show, as a naive time."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def moments_of(zone: ZoneInfo, local: datetime) -> list[datetime]:
    """The moments at which the clocks show `local`, in order: none where it is skipped, two where it is repeated."""
    first, second = _moment(zone, local, fold=0), _moment(zone, local, fold=1)
    if first == second:
        return [first]
    return [first, second] if first < second else []  # in a gap the two are swapped: PEP 495


def first_reached(zone: ZoneInfo, local: datetime) -> datetime | None:
    """When the clocks first show `local`, or, where they skip it, the first moment after the gap.

    None on a date that the zone skips as a whole.
    """
    moments = moments_of(zone, local)
    if moments:
        return moments[0]
    change = gap_around(zone, local)
    before, after = sides(zone, change)
    midnight = datetime.combine(local, time.min)
    return None if before <= midnight and midnight + _DAY <= after else change


def gap_around(zone: ZoneInfo, local: datetime) -> datetime:
    """The moment at which the clocks skip `local`."""
    return change_between(zone, _moment(zone, local, fold=1), _moment(zone, local, fold=0))


def repeat_around(zone: ZoneInfo, local: datetime) -> datetime | None:
    """The moment at which the clocks go back, to show `local` a second time; None when they show it once."""
    moments = moments_of(zone, local)
    return change_between(zone, *moments) if len(moments) == 2 else None


def sides(zone: ZoneInfo, change: datetime) -> tuple[datetime, datetime]:
    """What the clocks would show at a change if there were none, and what they show instead."""
    return shown_at(zone, change - _SECOND) + _SECOND, shown_at(zone, change)


def change_between(zone: ZoneInfo, earlier: datetime, later: datetime) -> datetime:
    """The moment in (earlier, later] from which on the zone has the offset of `later`. Changes are at whole seconds."""
    offset = later.astimezone(zone).utcoffset()
    start = earlier.replace(microsecond=0)
    low, high = 0, -(-(later - start) // _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        is_there = (start + middle * _SECOND).astimezone(zone).utcoffset() == offset
        low, high = (low, middle) if is_there else (middle, high)
    return start + high * _SECOND


def _moment(zone: ZoneInfo, local: datetime, fold: int) -> datetime:
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
