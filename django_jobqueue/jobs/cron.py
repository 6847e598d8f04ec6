"""What a cron expression says, apart from any time zone. croniter knows the calendar; only this file knows croniter.

Two functions: `parse` reads an expression, `Pattern.at_or_after` (and `at_or_before`) finds the next local time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs import cron_fields

# The rarest day there is, a fifth weekday of February, comes again after 40 years at most.
_YEARS_BETWEEN = 50
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


@cache
def _croniter() -> Any:
    """At the first expression: with what it imports it is a megabyte, and most processes read none."""
    return import_module("croniter.croniter")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The local times an expression names: some times of day, on some days. Times are naive, in whole seconds."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: str  # the three fields of the day, for croniter
    is_fixed: bool  # no `*` in minute and hour: a time on the clock, not a rhythm

    def at_or_after(self, local: datetime) -> datetime | None:
        """The first named time that is not before `local`; None when there is none."""
        if local.microsecond:
            local = local.replace(microsecond=0) + _SECOND
        day = _first_day(self.days, local.date())
        moment = self._from(local.time() if day == local.date() else time.min)
        if day is not None and moment is None:
            day, moment = _first_day(self.days, day + _DAY), self._from(time.min)
        return None if day is None or moment is None else datetime.combine(day, moment)

    def at_or_before(self, local: datetime) -> datetime | None:
        """The last named time that is not after `local`; None when there is none."""
        day = _last_day(self.days, local.date())
        moment = self._until(local.time() if day == local.date() else time.max)
        if day is not None and moment is None:
            day, moment = _last_day(self.days, day - _DAY), self._until(time.max)
        return None if day is None or moment is None else datetime.combine(day, moment)

    def _from(self, now: time) -> time | None:
        if now.hour in self.hours:
            if now.minute in self.minutes and now.second <= self.seconds[-1]:
                return time(now.hour, now.minute, self.seconds[bisect_left(self.seconds, now.second)])
            if now.minute < self.minutes[-1]:
                return time(now.hour, self.minutes[bisect_right(self.minutes, now.minute)], self.seconds[0])
        if now.hour < self.hours[-1]:
            return time(self.hours[bisect_right(self.hours, now.hour)], self.minutes[0], self.seconds[0])
        return None

    def _until(self, now: time) -> time | None:
        if now.hour in self.hours:
            if now.minute in self.minutes and now.second >= self.seconds[0]:
                return time(now.hour, now.minute, self.seconds[bisect_right(self.seconds, now.second) - 1])
            if now.minute > self.minutes[0]:
                return time(now.hour, self.minutes[bisect_left(self.minutes, now.minute) - 1], self.seconds[-1])
        if now.hour > self.hours[0]:
            return time(self.hours[bisect_left(self.hours, now.hour) - 1], self.minutes[-1], self.seconds[-1])
        return None


@lru_cache(maxsize=16_384)
def parse(expression: str, with_seconds: bool = False) -> Pattern:
    """Read an expression. Raises InvalidSchedule, which says what is wrong and what to write."""
    second, minute, hour, *day_fields = cron_fields.split(expression, with_seconds)
    days = " ".join(day_fields)
    if not _can_come(days):
        raise InvalidSchedule(
            f"{expression!r} never fires: there is no day {day_fields[0]!r} in month {day_fields[1]!r}."
        )
    is_fixed = "*" not in minute and "*" not in hour
    try:
        return Pattern(_numbers("second", second), _numbers("minute", minute), _numbers("hour", hour), days, is_fixed)
    except _croniter().CroniterError as error:  # no text is known that does this: our grammar is the narrower one
        raise InvalidSchedule(f"{expression!r} is no cron expression: {error}") from error


# Ten thousand expressions are made of few different fields: each of these is read once.


@lru_cache(maxsize=1024)
def _numbers(name: str, text: str) -> tuple[int, ...]:
    place, size = {"minute": (0, 60), "hour": (1, 24), "second": (5, 60)}[name]
    fields = ["*"] * 6
    fields[place] = text
    found: list[Any] = _croniter().croniter.expand(" ".join(fields))[0][place]
    return tuple(range(size)) if found == ["*"] else tuple(found)


@lru_cache(maxsize=4096)
def _can_come(days: str) -> bool:
    try:
        _croniter().croniter.expand(f"0 0 {days}", strict=True)
    except _croniter().CroniterError:
        return False
    return _first_day(days, date(2000, 1, 1)) is not None


def day_numbers(days: str) -> list[list[Any]]:
    """The numbers of each of the three fields of the day: `["*"]` for all, `"l"` for the last."""
    found: list[list[Any]] = _croniter().croniter.expand(f"0 0 {days}")[0][2:5]
    return found


# Days are asked for again and again, and by few different fields: `* * *`, `* * 1-5`, `1 * *`.


@lru_cache(maxsize=4096)
def _first_day(days: str, day: date) -> date | None:
    return _day(days, day, is_backward=False)


@lru_cache(maxsize=4096)
def _last_day(days: str, day: date) -> date | None:
    return _day(days, day, is_backward=True)


def _day(days: str, day: date, is_backward: bool) -> date | None:
    try:
        start = datetime.combine(day, time.min) + (_SECOND if is_backward else -_SECOND)
        named = _croniter().croniter(f"0 0 {days}", start, datetime, max_years_between_matches=_YEARS_BETWEEN)
        found: datetime = named.get_prev() if is_backward else named.get_next()
    except (_croniter().CroniterError, OverflowError, ValueError):  # none for fifty years, or past the calendar's end
        return None
    return found.date()
