"""When a task is to run: values that can be compared, printed and asked for their next tick. They read no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar

from django.utils.timezone import get_default_timezone_name

from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs import intervals, words
from django_jobqueue.jobs.cron import parse
from django_jobqueue.jobs.daylight import last_tick, next_tick
from django_jobqueue.jobs.zones import first_reached, zone_named

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(ABC):
    """Base of all schedules. `kind`, `expression` and `timezone` are what a row stores; `schedule_of` reads them back.

    Ticks are aware moments in UTC. A naive moment raises InvalidSchedule.
    """

    kind: ClassVar[str]
    expression: str
    timezone: str

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick strictly after `moment`; None when there is none any more."""

    @abstractmethod
    def last_until(self, moment: datetime) -> datetime | None:
        """The last tick not after `moment`; None when there was none. Found by a look back, not by a walk."""


@dataclass(frozen=True)
class Cron(Schedule):
    """The times a cron expression names on the clocks of a time zone, by the rule of `jobs/daylight.py`."""

    kind = "cron"

    expression: str
    timezone: str = "UTC"
    seconds: bool = False

    def __post_init__(self) -> None:
        _check_texts(expression=self.expression, timezone=self.timezone)
        parse(self.expression, bool(self.seconds))
        zone_named(self.timezone)
        object.__setattr__(self, "expression", " ".join(self.expression.split()))

    def next_after(self, moment: datetime) -> datetime | None:
        return _next_after(self.expression, self.timezone, self.seconds, _utc(moment))

    def last_until(self, moment: datetime) -> datetime | None:
        return _last_until(self.expression, self.timezone, self.seconds, _utc(moment))

    def __str__(self) -> str:
        return words.of_cron(self.expression, self.timezone, self.seconds)


# Many schedules are the same one, and are due at the same moment.


@lru_cache(maxsize=1024)
def _next_after(expression: str, timezone: str, seconds: bool, moment: datetime) -> datetime | None:
    return next_tick(parse(expression, seconds), zone_named(timezone), moment)


@lru_cache(maxsize=1024)
def _last_until(expression: str, timezone: str, seconds: bool, moment: datetime) -> datetime | None:
    return last_tick(parse(expression, seconds), zone_named(timezone), moment)


@dataclass(frozen=True)
class Every(Schedule):
    """A tick at `start`, and one each `interval` after it, in real time: no clock that is put back changes anything."""

    kind = "interval"
    timezone = "UTC"

    interval: timedelta
    start: datetime = EPOCH

    def __post_init__(self) -> None:
        intervals.checked(self.interval)
        object.__setattr__(self, "start", _utc(self.start))

    @property
    def expression(self) -> str:  # type: ignore[override]
        start = "" if self.start == EPOCH else f" from {self.start.isoformat()}"
        return intervals.written(self.interval) + start

    def next_after(self, moment: datetime) -> datetime | None:
        passed = (_utc(moment) - self.start) // self.interval
        return self._tick(max(passed + 1, 0))

    def last_until(self, moment: datetime) -> datetime | None:
        passed = (_utc(moment) - self.start) // self.interval
        return None if passed < 0 else self._tick(passed)

    def _tick(self, number: int) -> datetime | None:
        try:
            return self.start + number * self.interval
        except OverflowError:  # the calendar ends with the year 9999
            return None

    def __str__(self) -> str:
        return words.of_interval(self.interval, None if self.start == EPOCH else self.start)


@dataclass(frozen=True)
class At(Schedule):
    """One tick. `timezone` is only for the words."""

    kind = "once"

    moment: datetime
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _check_texts(timezone=self.timezone)
        zone_named(self.timezone)
        object.__setattr__(self, "moment", _utc(self.moment))

    @property
    def expression(self) -> str:  # type: ignore[override]
        return self.moment.isoformat()

    def next_after(self, moment: datetime) -> datetime | None:
        return self.moment if self.moment > _utc(moment) else None

    def last_until(self, moment: datetime) -> datetime | None:
        return self.moment if self.moment <= _utc(moment) else None

    def __str__(self) -> str:
        local = self.moment.astimezone(zone_named(self.timezone))
        return f"once, on {local:%Y-%m-%d} at {local:{'%H:%M:%S' if local.second else '%H:%M'}}, {self.timezone}"


@dataclass(frozen=True)
class Manual(Schedule):
    """No tick: it runs when somebody says so."""

    kind = "manual"
    expression = ""
    timezone = "UTC"

    def next_after(self, moment: datetime) -> datetime | None:
        return None

    def last_until(self, moment: datetime) -> datetime | None:
        return None

    def __str__(self) -> str:
        return "only by hand"


def cron(expression: str, timezone: str | None = None, seconds: bool = False) -> Cron:
    """The times a cron expression names on the clocks of a time zone; None: settings.TIME_ZONE.

    With `seconds` there are six fields, the seconds first. Raises InvalidSchedule.
    """
    return Cron(expression, get_default_timezone_name() if timezone is None else timezone, seconds)


def every(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    start: datetime | None = None,
) -> Every:
    """A tick each so often, in real time, counted from `start`.

    None: from 1970 in UTC, so that each process and each deploy has the same ticks. Raises InvalidSchedule.
    """
    try:
        interval = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidSchedule(f"An interval is made of numbers, as in every(minutes=10): {error}.") from error
    return Every(interval, EPOCH if start is None else start)


def at(moment: datetime) -> At:
    """One tick, at an aware moment. Raises InvalidSchedule."""
    return At(moment, getattr(getattr(moment, "tzinfo", None), "key", None) or "UTC")


def manual() -> Manual:
    """No tick of its own: it runs when somebody says so."""
    return Manual()


def schedule_of(kind: str, expression: str, timezone: str = "UTC") -> Schedule:
    """The schedule that a row stores, or that somebody typed into a form. Raises InvalidSchedule.

    A cron expression of six fields has seconds. A moment without an offset is a local time of `timezone`.
    """
    _check_texts(expression=expression, timezone=timezone)
    if kind == Cron.kind:
        return Cron(expression, timezone, seconds=len(expression.split()) == 6)
    if kind == Every.kind:
        span, has_start, start = expression.partition(" from ")
        return Every(intervals.read(span), _moment_of(start, timezone) if has_start else EPOCH)
    if kind == At.kind:
        return At(_moment_of(expression, timezone), timezone)
    if kind == Manual.kind:
        return Manual()
    raise InvalidSchedule(f"A schedule is of kind cron, interval, once or manual, not {kind!r}.")


def _moment_of(text: str, timezone: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidSchedule(f"{text[:60]!r} is no moment. Write it like '2026-12-24 18:00'.") from None
    if moment.tzinfo is not None:
        return moment
    try:
        reached = first_reached(zone_named(timezone), moment)
    except OverflowError:
        raise InvalidSchedule(f"{text[:60]!r} lies outside of the calendar in UTC.") from None
    if reached is None:
        raise InvalidSchedule(f"There is no {moment:%Y-%m-%d} in {timezone}: the clocks skipped that day.")
    return reached


def _check_texts(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, str):
            raise InvalidSchedule(f"A schedule's {name} is a text, not {type(value).__name__}.")


def _utc(moment: datetime) -> datetime:
    if not isinstance(moment, datetime):
        raise InvalidSchedule(f"A moment is a datetime, not {type(moment).__name__}.")
    if moment.utcoffset() is None:
        raise InvalidSchedule(f"{moment} has no time zone. Take an aware moment, such as timezone.now() of Django.")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidSchedule(f"{moment} lies outside of the calendar in UTC.") from None
