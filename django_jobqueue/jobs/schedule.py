"""When a task is to run: values that can be compared, printed and asked for their next tick. They read no clock."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo

from django.utils import timezone as django_timezone

from django_jobqueue.exceptions import InvalidSchedule
from django_jobqueue.jobs import cron as cron_patterns
from django_jobqueue.jobs import zones

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(ABC):
    """Base of all schedules. `kind` and `expression` are what a row stores; `schedule_of` reads them back."""

    kind: ClassVar[str]
    expression: str
    timezone: str

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick strictly after an aware moment, in UTC. None: there is none any more."""

    @abstractmethod
    def last_until(self, moment: datetime) -> datetime | None:
        """The last tick not after an aware moment, in UTC. None: there was none yet."""


@dataclass(frozen=True)
class Cron(Schedule):
    """A cron expression on the clocks of a time zone."""

    kind = "cron"
    expression: str
    timezone: str = "UTC"
    seconds: bool = False

    def __post_init__(self) -> None:
        cron_patterns.parse(self.expression, self.seconds)
        ZoneInfo(self.timezone)

    def next_after(self, moment: datetime) -> datetime | None:
        return _next_after(self, _utc(moment))

    def last_until(self, moment: datetime) -> datetime | None:
        return _last_until(self, _utc(moment))

    def __str__(self) -> str:
        return f"{self.expression}, {self.timezone}"


@lru_cache(maxsize=4096)
def _next_after(cron: Cron, moment: datetime) -> datetime | None:
    pattern, zone = cron_patterns.parse(cron.expression, cron.seconds), ZoneInfo(cron.timezone)
    return (_next_fixed if pattern.is_fixed else _next_real)(pattern, zone, moment)


@lru_cache(maxsize=4096)
def _last_until(cron: Cron, moment: datetime) -> datetime | None:
    pattern, zone = cron_patterns.parse(cron.expression, cron.seconds), ZoneInfo(cron.timezone)
    return (_last_fixed if pattern.is_fixed else _last_real)(pattern, zone, moment)


def _next_fixed(pattern: cron_patterns.Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    local = pattern.at_or_after(zones.furthest_shown(zone, moment) + timedelta.resolution)
    while local is not None:
        tick = zones.first_reached(zone, local)
        if tick is not None:
            return tick
        local = pattern.at_or_after(zones.sides(zone, zones.gap_around(zone, local))[1])
    return None


def _last_fixed(pattern: cron_patterns.Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    local = pattern.at_or_before(zones.furthest_shown(zone, moment))
    while local is not None:
        tick = zones.first_reached(zone, local)
        if tick is not None:
            return tick
        local = pattern.at_or_before(zones.sides(zone, zones.gap_around(zone, local))[0] - timedelta.resolution)
    return None


def _next_real(pattern: cron_patterns.Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    here = moment.astimezone(zone)
    local = pattern.at_or_after(here.replace(tzinfo=None, fold=0) + timedelta.resolution)
    again = here.replace(fold=1).astimezone(UTC)
    if again > moment:  # what the clocks show now, they will show again
        before, after = zones.sides(zone, zones.change_between(zone, moment, again))
        if local is None or local >= before:
            local = pattern.at_or_after(after)
    while local is not None:
        ticks = [tick for tick in zones.moments_of(zone, local) if tick > moment]
        if ticks:
            return ticks[0]
        local = pattern.at_or_after(zones.sides(zone, zones.gap_around(zone, local))[1])
    return None


def _last_real(pattern: cron_patterns.Pattern, zone: ZoneInfo, moment: datetime) -> datetime | None:
    here = moment.astimezone(zone)
    local = pattern.at_or_before(here.replace(tzinfo=None, fold=0))
    if here.fold:
        first = here.replace(fold=0).astimezone(UTC)
        before, after = zones.sides(zone, zones.change_between(zone, first, moment))
        if local is None or local < after:
            local = pattern.at_or_before(before - timedelta.resolution)
    while local is not None:
        ticks = [tick for tick in zones.moments_of(zone, local) if tick <= moment]
        if ticks:
            return ticks[-1]
        local = pattern.at_or_before(zones.sides(zone, zones.gap_around(zone, local))[0] - timedelta.resolution)
    return None


UNITS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


@dataclass(frozen=True)
class Every(Schedule):
    """A tick at `start` and each `interval` after it, in real time: clocks that go back or forth change nothing."""

    kind = "interval"
    timezone = "UTC"
    interval: timedelta
    start: datetime = EPOCH

    def __post_init__(self) -> None:
        if self.interval < timedelta(seconds=1):
            raise InvalidSchedule("An interval is at least a second.")
        object.__setattr__(self, "start", _utc(self.start))

    @property
    def expression(self) -> str:  # type: ignore[override]
        return _span_text(self.interval) + ("" if self.start == EPOCH else f" from {self.start.isoformat()}")

    def next_after(self, moment: datetime) -> datetime | None:
        passed = (_utc(moment) - self.start) // self.interval
        return self._tick(max(passed + 1, 0))

    def last_until(self, moment: datetime) -> datetime | None:
        passed = (_utc(moment) - self.start) // self.interval
        return None if passed < 0 else self._tick(passed)

    def _tick(self, number: int) -> datetime | None:
        try:
            return self.start + number * self.interval
        except OverflowError:
            return None

    def __str__(self) -> str:
        return f"every {self.expression}"


@dataclass(frozen=True)
class At(Schedule):
    """One tick."""

    kind = "once"
    moment: datetime
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        object.__setattr__(self, "moment", _utc(self.moment))

    @property
    def expression(self) -> str:  # type: ignore[override]
        return self.moment.isoformat()

    def next_after(self, moment: datetime) -> datetime | None:
        return self.moment if self.moment > moment else None

    def last_until(self, moment: datetime) -> datetime | None:
        return self.moment if self.moment <= moment else None

    def __str__(self) -> str:
        return f"once, {self.moment:%Y-%m-%d %H:%M} UTC"


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
        return "by hand"


def cron(expression: str, timezone: str | None = None, seconds: bool = False) -> Cron:
    """A cron expression on the clocks of a time zone; None: settings.TIME_ZONE. Raises InvalidSchedule."""
    return Cron(expression, timezone or django_timezone.get_default_timezone_name(), seconds)


def every(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    start: datetime | None = None,
) -> Every:
    """A tick each so often, counted from `start`; None: from 1970, the same everywhere. Raises InvalidSchedule."""
    interval = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return Every(interval, EPOCH if start is None else start)


def at(moment: datetime) -> At:
    """One tick, at an aware moment. Raises InvalidSchedule."""
    return At(moment, getattr(moment.tzinfo, "key", None) or "UTC")


def manual() -> Manual:
    """No tick of its own: run from the admin, or by `SchedulerService.trigger`."""
    return Manual()


def schedule_of(kind: str, expression: str, timezone: str = "UTC") -> Schedule:
    """The schedule a row stores. Raises InvalidSchedule."""
    if kind == "cron":
        return Cron(expression, timezone, seconds=len(expression.split()) == 6)
    if kind == "interval":
        span, _, start = expression.partition(" from ")
        return Every(_span_of(span), datetime.fromisoformat(start) if start else EPOCH)
    if kind == "once":
        return At(datetime.fromisoformat(expression), timezone)
    if kind == "manual":
        return Manual()
    raise InvalidSchedule(f"A schedule's kind is cron, interval, once or manual; not {kind!r}.")


def _span_text(span: timedelta) -> str:
    left, words = round(span.total_seconds()), []
    for unit, size in UNITS.items():
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(words)


def _span_of(text: str) -> timedelta:
    parts = re.findall(r"(\d+)\s*(week|day|hour|minute|second)s?", text)
    return timedelta(seconds=sum(int(count) * UNITS[unit] for count, unit in parts))


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidSchedule(f"{moment} has no time zone. Take one that has, such as django.utils.timezone.now().")
    return moment.astimezone(UTC)
