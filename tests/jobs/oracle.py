"""An independent opinion of which minutes a cron expression names: it looks at each minute around a change of clocks.

It shares no code with the package and knows no croniter: an expression is read field by field into sets, and the clocks
are read from zoneinfo in one direction only, from moments to local times. `python -m tests.jobs.oracle` (`make oracle`)
compares it with the package on every zone and every change from 2000 to 2037.
"""

from __future__ import annotations

import argparse
import calendar
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django_jobqueue.jobs.schedule import Cron

MINUTE = 60
HOUR = 3600
FIRST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())

EXPRESSIONS = [
    # rhythms
    *("* * * * *", "*/5 * * * *", "*/7 * * * *", "0 * * * *", "30 * * * *", "15,45 * * * *", "*/20 1-3 * * *"),
    *("0 */2 * * *", "30 */3 * * *", "* 2 * * *", "* 0 * * *", "*/15 0-1 * * *", "*/10 23 * * *", "0 */1 * * 0"),
    *("*/30 */2 * * sun,mon", "5-59/10 * 24-31 3,10 *", "* 1 L * *", "*/6 2 * * L0", "*/9 * * * sun#2"),
    # times on the clock
    *("0 0 * * *", "30 0 * * *", "0 1 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "0,30 2 * * *", "0 3 * * *"),
    *("59 23 * * *", "15,45 23,0 * * *", "0-59/6 1-3 * * *", "1,29,31,59 0-3 * * *", "0 22-4 * * *", "20 4 * * *"),
    *("0 0-23 * * *", "30 2 * * 0", "30 0 * * 1", "0 0 1 * *", "45 1 15,L * *", "0 2 25-31 3,10 *", "0 3 * * L7"),
    *("0 0 * * sat#1", "15 2 1-7 * mon", "5 0 28W * *", "0 12 * * *", "@daily", "@hourly", "@weekly"),
]


@dataclass(frozen=True)
class Change:
    """The clocks of a zone are moved by `shift` seconds at `moment` (since 1970)."""

    zone: str
    moment: int
    shift: int

    @property
    def reach(self) -> int:
        """So many seconds before and after it ticks are compared."""
        return abs(self.shift) + 150 * MINUTE


# what an expression says


class Named:
    """The sets of an expression, by a reading of its own."""

    aliases = {"@daily": "0 0 * * *", "@hourly": "0 * * * *", "@weekly": "0 0 * * 0"}
    days = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
    month_names = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

    def __init__(self, expression: str) -> None:
        minute, hour, self.day, month, self.weekday = self.aliases.get(expression, expression).split()
        self.is_fixed = "*" not in minute + hour
        self.minutes, self.hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
        for number, name in enumerate(self.month_names, 1):
            month = month.replace(name, str(number))
        self.months = numbers(month, 1, 12)

    def has(self, local: datetime) -> bool:
        return local.minute in self.minutes and local.hour in self.hours and self.has_day(local)

    def first_after(self, local: datetime) -> datetime:
        """The next local time, found day by day."""
        times = sorted((hour, minute) for hour in self.hours for minute in self.minutes)
        date = local.replace(hour=0, minute=0, second=0)
        while True:
            if self.has_day(date):
                for hour, minute in times:
                    if date.replace(hour=hour, minute=minute) > local:
                        return date.replace(hour=hour, minute=minute)
            date += timedelta(days=1)

    def has_day(self, local: datetime) -> bool:
        if local.month not in self.months:
            return False
        by_date, by_weekday = self.has_date(local), self.has_weekday(local)
        is_either = self.day != "*" and self.weekday != "*"
        return by_date or by_weekday if is_either else by_date and by_weekday

    def has_date(self, local: datetime) -> bool:
        last = calendar.monthrange(local.year, local.month)[1]
        if "L" in self.day.split(","):
            others = ",".join(part for part in self.day.split(",") if part != "L")
            return local.day == last or (others != "" and local.day in numbers(others, 1, 31))
        if self.day.endswith("W"):
            wanted = local.replace(day=min(int(self.day[:-1]), last))
            near = [wanted + timedelta(days=days) for days in (0, -1, 1, -2, 2)]
            return local.day == next(day.day for day in near if day.weekday() < 5 and day.month == local.month)
        return local.day in numbers(self.day, 1, 31)

    def has_weekday(self, local: datetime) -> bool:
        mine = local.isoweekday() % 7
        text = self.weekday
        for number, name in enumerate(self.days):
            text = text.replace(name, str(number))
        if text.startswith("L"):
            return mine == int(text[1:]) % 7 and (local + timedelta(days=7)).month != local.month
        if "#" in text:
            wanted, count = (int(part) for part in text.split("#"))
            return mine == wanted % 7 and (local.day - 1) // 7 + 1 == count
        return mine in {number % 7 for number in numbers(text, 0, 6)}


@cache
def named(expression: str) -> Named:
    return Named(expression)


@cache
def numbers(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        values, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if values == "*" else values).partition("-")
        start, end = int(first), int(last or (high if step else first))
        found |= (
            set(range(start, end + 1, int(step or 1)))
            if start <= end
            else {*range(start, high + 1), *range(low, end + 1)}
        )
    return found


# what the clocks show


def changes(name: str) -> Iterator[Change]:
    """Each change of a zone's offset. Looked for once a day: no two are closer than four days."""
    offset = offset_at(ZoneInfo(name))
    before = offset(FIRST)
    for later in range(FIRST + 24 * HOUR, LAST + 1, 24 * HOUR):
        after = offset(later)
        if after != before:
            hour = next(at for at in range(later - 23 * HOUR, later + 1, HOUR) if offset(at) == after)
            moment = next(at for at in range(hour - HOUR, hour + 1, MINUTE) if offset(at) == after)
            yield Change(name, moment, after - before)
            before = after


def offset_at(zone: ZoneInfo):
    def offset(moment: int) -> int:
        local = datetime.fromtimestamp(moment, zone)
        return int(local.replace(tzinfo=UTC).timestamp()) - moment

    return offset


class Window:
    """Each minute from hours before a change to hours after it, with what the clocks show."""

    def __init__(self, change: Change) -> None:
        zone, reach = ZoneInfo(change.zone), change.reach + abs(change.shift) + HOUR
        self.minutes = [
            (moment, datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0))
            for moment in range(change.moment - reach, change.moment + reach, MINUTE)
        ]
        self.dates = sorted({local.replace(hour=0, minute=0) for _, local in self.minutes})
        self.first_shown: dict[datetime, int] = {}
        for moment, local in self.minutes:
            self.first_shown.setdefault(local, moment)

    def right_after(self, local: datetime) -> int:
        """The first minute after a gap; past the last one there is nothing to compare."""
        return next((moment for moment, later in self.minutes if later > local), sys.maxsize)


def expected(names: Named, window: Window) -> set[int]:
    if not names.is_fixed:
        return {moment for moment, local in window.minutes if names.has(local)}
    times = [timedelta(hours=hour, minutes=minute) for hour in names.hours for minute in names.minutes]
    wanted = [date + time for date in window.dates if names.has_day(date) for time in times]
    begun = window.minutes[0][1]
    return {window.first_shown.get(local) or window.right_after(local) for local in wanted if local >= begun}


# the comparison


def differences(change: Change, expressions: Iterable[str]) -> Iterator[str]:
    window, start, end = Window(change), change.moment - change.reach, change.moment + change.reach
    for expression in expressions:
        wanted = sorted(moment for moment in expected(named(expression), window) if start < moment <= end)
        schedule = Cron(expression, change.zone)
        for way, found in (("forward", forward(schedule, start, end)), ("backward", backward(schedule, start, end))):
            if found != wanted:
                first = min(set(found) ^ set(wanted), default=start)
                yield f"{change}: {expression!r}, {way}: differs at {datetime.fromtimestamp(first, UTC)}"
        for moment in moments_near(change):
            if not fits(schedule, wanted, moment):
                yield f"{change}: {expression!r}, asked at {datetime.fromtimestamp(moment, UTC)}: differs"


def moments_near(change: Change) -> list[int]:
    """Where to ask in between: a scheduler may be started at any moment, also in a repeated hour."""
    part = abs(change.shift) // 3
    return [change.moment + moment for moment in (-2 * part - 7, -part, -1, 0, 1, part, 2 * part + 7, 3 * part)]


def fits(schedule: Cron, wanted: list[int], moment: int) -> bool:
    """Whether the ticks after and before are those of the list, where they are in its reach."""
    place = bisect_right(wanted, moment)
    asked = datetime.fromtimestamp(moment, UTC)
    following, last = schedule.next_after(asked), schedule.last_until(asked)
    return (place == len(wanted) or following == datetime.fromtimestamp(wanted[place], UTC)) and (
        place == 0 or last == datetime.fromtimestamp(wanted[place - 1], UTC)
    )


def forward(schedule: Cron, start: int, end: int) -> list[int]:
    found, moment = [], datetime.fromtimestamp(start, UTC)
    while (tick := schedule.next_after(moment)) is not None and tick.timestamp() <= end:
        found.append(int(tick.timestamp()))
        moment = tick
    return found


def backward(schedule: Cron, start: int, end: int) -> list[int]:
    found, moment = [], datetime.fromtimestamp(end, UTC)
    while (tick := schedule.last_until(moment)) is not None and tick.timestamp() > start:
        found.append(int(tick.timestamp()))
        moment = tick - timedelta.resolution
    return found[::-1]


def zones() -> list[str]:
    return sorted(available_timezones() - {"localtime"})  # that one is a name for the machine's own


def different(names: Iterable[str]) -> dict[tuple[int, ...], list[Change]]:
    """The changes of each zone, once for all names of the same clocks: many are links to another."""
    found: dict[tuple[int, ...], list[Change]] = {}
    for name in names:
        those = [*changes(name)]
        clocks = (offset_at(ZoneInfo(name))(FIRST), *(number for one in those for number in (one.moment, one.shift)))
        found.setdefault(clocks, those)
    return found


def compare(change: Change) -> list[str]:
    return [*differences(change, EXPRESSIONS)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--all-names", action="store_true", help="also those that are only other names of the same clocks"
    )
    parser.add_argument("zones", nargs="*", help="only these")
    options = parser.parse_args()
    begun, names, wrong = time.monotonic(), options.zones or zones(), 0
    those = [[*changes(name)] for name in names] if options.all_names else [*different(names).values()]
    todo = [change for found in those for change in found]
    print(
        f"{len(names)} names, {len(those)} clocks, {len(todo):,} changes x {len(EXPRESSIONS)} expressions", flush=True
    )
    with ProcessPoolExecutor(options.processes) as pool:
        for done, texts in enumerate(pool.map(compare, todo, chunksize=20), 1):
            wrong += len(texts)
            print(*texts, sep="\n", end="\n" * bool(texts))
            if done % 500 == 0 or done == len(todo):
                print(f"{done:,} changes: {wrong} differences, {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
