"""The grammar of cron expressions: narrower than croniter's, and with words for what is refused.

Refused is what crons read in different ways, so that nobody is surprised in production: what looks the same in another
cron means the same here, or is refused with what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from django_jobqueue.exceptions import InvalidSchedule

LONGEST = 200  # characters: what the table has room for; it also bounds the cost of reading one
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,4}))?", re.ASCII)
_RANDOM = re.compile(r"[hr](\(.*\))?(/.*)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = r"(?!)"  # what else an item may be; nothing
    also: str = ""

    def number(self, text: str) -> int | None:
        """The number a value stands for; None when it is none of this field."""
        if text in self.names:
            return self.names.index(text) + self.low
        is_number = text.isdigit() and len(text) <= 2 and self.low <= int(text) <= self.high
        return int(text) if is_number else None

    @property
    def longest_step(self) -> int:
        return self.high - self.low

    @property
    def wanted(self) -> str:
        return f"{self.low} to {self.high}{self.also}"


SECOND = Field("second", 0, 59)
WEEKDAY = Field(
    "day of the week",
    0,
    7,
    WEEKDAYS,
    special=r"([0-7]|" + "|".join(WEEKDAYS) + r")#[1-5]|l[0-7]",
    also=" or sun to sat, 5#2 (the second Friday) or L5 (the last)",
)
FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31, special=r"l|([1-9]|[12][0-9]|3[01])w", also=", L (the last) or 15W (a weekday)"),
    Field("month", 1, 12, MONTHS, also=" or jan to dec"),
    WEEKDAY,
)


def split(expression: str, with_seconds: bool) -> list[str]:
    """The fields in lower case, the seconds first (`0` when there are none). Raises InvalidSchedule."""
    if len(expression) > LONGEST:
        raise InvalidSchedule(f"A cron expression has {LONGEST} characters at most; this one has {len(expression)}.")
    if not expression.isascii() or not expression.replace("\t", " ").isprintable():
        raise InvalidSchedule(f"{expression!a} is no cron expression: it has characters that no cron knows.")
    fields = _unaliased(expression.strip().lower()).split()
    _check_number(expression, fields, with_seconds)
    if len(fields) == len(FIELDS):
        fields.insert(0, "0")
    for field, text in zip((SECOND, *FIELDS), fields, strict=True):
        _check(expression, field, text)
    _check_days(expression, day=fields[3], weekday=fields[5])
    return fields


def _unaliased(text: str) -> str:
    if not text.startswith("@"):
        return text
    if text in ALIASES:
        return ALIASES[text]
    if text.startswith("@every"):
        raise InvalidSchedule(
            "Cron has no @every here. Write every(minutes=10); it keeps its rhythm over midnight too."
        )
    if text.startswith("@reboot"):
        raise InvalidSchedule("There is no @reboot: there are many processes, and no moment at which all start.")
    raise InvalidSchedule(f"{text!r} is none of {', '.join(ALIASES)}.")


def _check_number(expression: str, fields: list[str], with_seconds: bool) -> None:
    wanted = len(FIELDS) + with_seconds
    if len(fields) == wanted or (with_seconds and expression.strip().startswith("@")):
        return
    order = " ".join(f"({field.name})" for field in ((SECOND, *FIELDS) if with_seconds else FIELDS))
    hint = ""
    if len(fields) == len(FIELDS) + 1 and not with_seconds:
        hint = " Six are read with seconds=True, the seconds first."
    elif len(fields) == len(FIELDS) + 2:
        hint = " There is none for the year."
    raise InvalidSchedule(
        f"{_quoted(expression)} has {len(fields)} field{'s' * (len(fields) != 1)}; write {wanted}: {order}.{hint}"
    )


def _check(expression: str, field: Field, text: str) -> None:
    item, problem = _fault(field, text)
    if problem:
        raise InvalidSchedule(f"{_quoted(expression)}: {item!r} is no {field.name}. {problem}")


@lru_cache(maxsize=4096)
def _fault(field: Field, text: str) -> tuple[str, str]:
    """The first item that can't be read, and what to write instead."""
    problems = ((item, _problem(field, item, is_alone=item == text)) for item in text.split(","))
    return next(((item, problem) for item, problem in problems if problem), ("", ""))


def _problem(field: Field, item: str, is_alone: bool) -> str:
    """What is wrong with an item, and what to write; nothing when it is fine."""
    if re.fullmatch(field.special, item):
        return "" if is_alone or item == "l" else "It can't be in a list: write a schedule for each."
    if item == "?":
        return "Write * for any."
    if _RANDOM.fullmatch(item):
        return "A random value would differ between processes. Give the schedule a jitter instead."
    match = _ITEM.fullmatch(item)
    if not match:
        return f"Write {field.wanted}, lists like 1,5, ranges like 1-5 or steps like */5."
    if item == "*" and not is_alone:
        return "It is every value already: leave out the others."
    if item.startswith("*"):
        return _problem_of_step(field, match["step"])
    return _problem_of_values(field, match["first"], match["last"], match["step"])


def _problem_of_values(field: Field, first: str, last: str | None, step: str | None) -> str:
    low, high = field.number(first), field.number(first if last is None else last)
    if low is None or high is None:
        return f"Write {field.wanted}."
    if field is WEEKDAY and low == 7 and (last or step):
        return "Sunday is 7 alone or at the end; at the beginning it is 0."
    if last is not None and low == high:
        return f"Some crons take it for all values. Write {first}."
    if last is not None and low > high and step is not None:
        return "Crons step differently through a range that goes over the end. Write the values as a list."
    return _problem_of_step(field, step)


def _problem_of_step(field: Field, step: str | None) -> str:
    if step is None or 1 <= int(step) <= field.longest_step:
        return ""
    larger = {"second": "minute", "minute": "hour", "hour": "day"}.get(field.name)
    if larger and int(step):
        return f"A step starts anew with each {larger}. Write every({field.name}s={int(step)})."
    return f"A step is from 1 to {field.longest_step}."


def _check_days(expression: str, day: str, weekday: str) -> None:
    """Two fields that are both restricted mean either; but not in all crons, and not with everything."""
    if day == "*" or weekday == "*":
        return
    for text in (day, weekday):
        if "*" in text:
            raise InvalidSchedule(
                f"{_quoted(expression)} gives both a day of the month and one of the week. With {text!r} some crons "
                "take that for 'and', others for 'or'. Write its values as a list or a range: 'or' in all."
            )
    if day.endswith("w") or "#" in weekday or weekday.startswith("l"):
        raise InvalidSchedule(
            f"{_quoted(expression)} gives both a day of the month and one of the week, which W, # and L5 don't allow. "
            "Write two schedules."
        )


def _quoted(expression: str) -> str:
    return repr(expression if len(expression) <= 60 else f"{expression[:57]}...")
