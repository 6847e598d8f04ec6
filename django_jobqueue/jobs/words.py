"""Schedules in words. What can't be said shortly and exactly is shown as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise, product

from django_jobqueue.jobs import intervals
from django_jobqueue.jobs.cron import Pattern, day_numbers, parse

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_COUNTED = ("first", "second", "third", "fourth", "fifth")
_MOST = 4  # a longer list is no sentence any more
_DAY = timedelta(days=1)


def some_of(names: Sequence[str], shown: int = 5) -> str:
    """The first of many, for one line of a log."""
    return ", ".join([*names[:shown], *(["…"] if len(names) > shown else [])])


def of_cron(expression: str, timezone: str, seconds: bool) -> str:
    pattern = parse(expression, seconds)
    days = _days(*pattern.days.split())
    times, rhythm = _times(pattern), _rhythm(pattern)
    if days is None or not (times or rhythm):
        return f"cron {expression}, {timezone}"
    said = f"{days or 'every day'} {times}" if times else f"{rhythm}{days and ', '}{days}"
    return f"{said}, {timezone}"


def of_interval(interval: timedelta, start: datetime | None) -> str:
    length = intervals.written(interval)
    text = f"every {length[2:] if length.startswith('1 ') and length.count(' ') == 1 else length}"
    if start is not None:
        return f"{text}, from {start.replace(tzinfo=None).isoformat(' ')} UTC"
    if interval % _DAY:
        return text
    on = " on Thursday" if not interval % (7 * _DAY) else ""  # 1970 began on one
    return f"{text}{on} at 00:00, UTC"


# the time of day


def _times(pattern: Pattern) -> str | None:
    """A few fixed times; None when they are many, or follow real time."""
    times = [*product(pattern.hours, pattern.minutes, pattern.seconds)] if pattern.is_fixed else []
    if not 0 < len(times) <= _MOST:
        return None
    with_seconds = pattern.seconds != (0,)
    return "at " + _listed([_clock(hour, minute, *([second] * with_seconds)) for hour, minute, second in times])


def _rhythm(pattern: Pattern) -> str | None:
    seconds, minutes, hours = (_step(pattern.seconds, 60), _step(pattern.minutes, 60), _step(pattern.hours, 24))
    if pattern.seconds != (0,):
        return _each(seconds, "second") if seconds and minutes == hours == 1 and not pattern.is_fixed else None
    if len(pattern.minutes) == 1:
        return _by_the_hour(pattern, hours)
    if minutes is None or pattern.is_fixed:
        return None
    if hours == 1:
        return _each(minutes, "minute")
    last = _clock(pattern.hours[-1], pattern.minutes[-1])
    return (
        f"{_each(minutes, 'minute')} from {_clock(pattern.hours[0], 0)} to {last}" if _is_run(pattern.hours) else None
    )


def _by_the_hour(pattern: Pattern, step: int | None) -> str | None:
    [minute] = pattern.minutes
    first, last = _clock(pattern.hours[0], minute), _clock(pattern.hours[-1], minute)
    if pattern.is_fixed:
        return f"every hour from {first} to {last}" if _is_run(pattern.hours) else None
    if step == 1:
        return f"every hour at minute {minute}" if minute else "every hour"
    return f"{_each(step, 'hour')} from {first}" if step else None


def _step(numbers: tuple[int, ...], size: int) -> int | None:
    """The n of `*/n`, where it divides the whole, so that the rhythm goes on over its end; 1 for `*`."""
    step = size // len(numbers)
    return step if len(numbers) > 1 and numbers == tuple(range(0, size, step)) else None


def _each(step: int, unit: str) -> str:
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _clock(*numbers: int) -> str:
    return ":".join(f"{number:02}" for number in numbers)


# the day: `None` when there are no short words, empty for every day


def _days(day: str, month: str, weekday: str) -> str | None:
    days, months, weekdays = day_numbers(f"{day} {month} {weekday}")
    in_months = _months(months)
    if in_months is None:
        return None
    if days == weekdays == ["*"]:
        return f"every day in {in_months}" if in_months else ""
    of_each = f"of {in_months or 'each month'}"
    in_them = f" in {in_months}" if in_months else ""
    if weekdays == ["*"]:
        return _month_days(day, days, of_each)
    if days == ["*"]:
        return _weekdays(weekday, weekdays, of_each, in_them)
    by_date, by_weekday = _month_days(day, days, of_each), _weekdays(weekday, weekdays, of_each, in_them)
    return f"{by_date} and on {by_weekday}" if by_date and by_weekday and not in_months else None


def _month_days(text: str, days: list[int | str], of_each: str) -> str | None:
    if text.endswith("w"):
        return f"on the weekday nearest to the {_ordinal(int(text[:-1]))} {of_each}"
    numbers = [day for day in days if isinstance(day, int)]
    last = ["last day"] if "l" in days else []
    if len(numbers) + len(last) <= _MOST:
        return f"on the {_listed([*map(_ordinal, numbers), *last])} {of_each}"
    if last or not _is_run(numbers):
        return None
    return f"on the {_ordinal(numbers[0])} to {_ordinal(numbers[-1])} {of_each}"


def _weekdays(text: str, weekdays: list[int | str], of_each: str, in_months: str) -> str | None:
    numbers = [day for day in weekdays if isinstance(day, int)]
    if "#" in text:
        return f"on the {_COUNTED[int(text[-1]) - 1]} {WEEKDAYS[numbers[0]]} {of_each}"
    if text.startswith("l"):
        return f"on the last {WEEKDAYS[numbers[0]]} {of_each}"
    if numbers == [1, 2, 3, 4, 5]:
        return f"weekdays{in_months}"
    if numbers == [0, 6]:
        return f"weekends{in_months}"
    names = [f"{WEEKDAYS[number]}s" for number in sorted(numbers, key=lambda number: number or 7)]
    return f"{_listed(names)}{in_months}" if len(names) < len(WEEKDAYS) else None


def _months(months: list[int | str]) -> str | None:
    if months == ["*"]:
        return ""
    names = [MONTHS[month - 1] for month in months if isinstance(month, int)]
    if len(names) <= _MOST:
        return _listed(names)
    return f"{names[0]} to {names[-1]}" if _is_run([month for month in months if isinstance(month, int)]) else None


def _is_run(numbers: list[int] | tuple[int, ...]) -> bool:
    return all(after - before == 1 for before, after in pairwise(numbers))


def _ordinal(number: int) -> str:
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
