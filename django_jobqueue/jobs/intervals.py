"""Spans of time as people write them: `10 minutes`, `1 hour 30 minutes`."""

from __future__ import annotations

import re
from datetime import timedelta

from django_jobqueue.exceptions import InvalidSchedule

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=36_525)
_UNITS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_SHORT = {"w": "week", "d": "day", "h": "hour", "hr": "hour", "m": "minute", "min": "minute", "s": "second"}
_SHORT |= {"sec": "second"}
_PART = re.compile(r"\s*(?:and\s+)?([0-9]{1,12})?\s*([a-z]+?)s?(?=\s|,|[0-9]|$),?", re.ASCII)


def checked(span: timedelta) -> timedelta:
    """A span a schedule can have: whole seconds, from one to a hundred years of them. Raises InvalidSchedule."""
    if not isinstance(span, timedelta):
        raise InvalidSchedule(f"An interval is a timedelta, not {type(span).__name__}. Write every(minutes=10).")
    if span == timedelta(0):
        raise InvalidSchedule("An interval needs a length. Write every(minutes=10), for example.")
    if not SHORTEST <= span <= LONGEST:
        raise InvalidSchedule(f"An interval is from 1 second to {LONGEST.days:,} days, not {span}.")
    if span.microseconds:
        raise InvalidSchedule(f"An interval is whole seconds, not {span.total_seconds():g}.")
    return span


def written(span: timedelta) -> str:
    """A span as text that `read` understands: `1 day 12 hours`. Weeks are written when there is nothing but weeks."""
    left, words = round(span.total_seconds()), []
    for unit, size in _UNITS.items():
        if unit == "week" and left % size:
            continue
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}{'s' * (count != 1)}")
    return " ".join(words)


def read(text: str) -> timedelta:
    """The span of a text like `10 minutes`, `1 hour 30 minutes`, `1h30m` or `day`. Raises InvalidSchedule."""
    seconds, rest = 0, text.strip().lower().removeprefix("every ").strip()
    while rest:
        match = _PART.match(rest)
        unit = _unit(match[2]) if match else None
        if match is None or unit is None:
            raise InvalidSchedule(f"{text[:60]!r} is no interval. Write it like '10 minutes' or '1 hour 30 minutes'.")
        seconds += int(match[1] or 1) * _UNITS[unit]
        rest = rest[match.end() :].strip()
    try:
        return checked(timedelta(seconds=seconds))
    except OverflowError:
        raise InvalidSchedule(f"An interval is at most {LONGEST.days:,} days, not {text[:60]!r}.") from None


def _unit(word: str) -> str | None:
    return word if word in _UNITS else _SHORT.get(word)
