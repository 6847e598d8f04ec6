"""Ticks: which moments of a schedule become jobs, and under which ids. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_jobqueue.jobs.schedule import Schedule

NAMESPACE = UUID("b831e39b-64f4-4802-9430-dcdaf2525a4f")
MOST_AT_ONCE = 100
"""Ticks of one schedule that become jobs in one transaction; the rest follow in the next."""
MOST_MISSED = 1_000
"""And of missed ones, however many a schedule asks for."""


def tick_id(name: str, tick: datetime) -> UUID:
    """The id of the job that a tick of this schedule becomes: the same for every scheduler."""
    return uuid5(NAMESPACE, f"{name}\n{tick.astimezone(UTC).isoformat()}")


def jitter_of(name: str, tick: datetime, seconds: float) -> float:
    """How many seconds later than its tick this job may start: less than `seconds`, the same for every scheduler."""
    return seconds * (tick_id(name, tick).int & 0xFFFF_FFFF) / 2**32


class Misfires(NamedTuple):
    """What becomes of ticks that are older than `grace` seconds: `policy` is `skip`, `once` or `all`, up to `limit`."""

    policy: str = "once"
    limit: int = 10
    grace: float = 60.0


class Decision(NamedTuple):
    """Ticks that become jobs, oldest first; the last one that is decided on, be it left out; the next one."""

    ticks: list[datetime]
    decided: datetime | None
    next: datetime | None


def decide(
    schedule: Schedule, first: datetime, now: datetime, misfires: Misfires, ends_at: datetime | None = None
) -> Decision:
    """What to do about `first`, the next tick that was planned, and all that have come since.

    Ticks that are late by no more than the grace become a job each. Older ones were missed: with `skip` none of them
    becomes a job; with `once` the latest does, unless a tick that is not missed does it for them; with `all` each of
    the latest `limit`. However long ago `first` was, this costs no more than the ticks it gives.
    """
    until = now if ends_at is None else min(now, ends_at)
    if first > until:
        return Decision([], None, first if until == now else None)
    cutoff = now - timedelta(seconds=misfires.grace)
    missed, fresh = ([], first) if first >= cutoff else _missed(schedule, first, cutoff, until, misfires)
    found = list(islice(chain(missed, _ticks(schedule, fresh, until)), MOST_AT_ONCE + 1))
    if len(found) > MOST_AT_ONCE:
        return Decision(found[:-1], found[-2], found[-1])
    decided = schedule.last_until(until) or first
    return Decision(found, max(decided, first), next_tick(schedule, max(decided, first), ends_at))


def next_tick(schedule: Schedule, after: datetime, ends_at: datetime | None = None) -> datetime | None:
    """The first tick after a moment that is not past the end."""
    tick = schedule.next_after(after)
    return tick if tick is None or ends_at is None or tick <= ends_at else None


def _missed(
    schedule: Schedule, first: datetime, cutoff: datetime, until: datetime, misfires: Misfires
) -> tuple[list[datetime], datetime | None]:
    """The missed ticks that become jobs, and the first that was not missed."""
    last = max(first, schedule.last_until(min(cutoff - timedelta.resolution, until)) or first)
    fresh = next_tick(schedule, last, until)
    if misfires.policy == "all":
        return _latest(schedule, first, last, min(misfires.limit, MOST_MISSED)), fresh
    if misfires.policy == "once" and fresh is None:
        return [last], fresh
    return [], fresh


def _latest(schedule: Schedule, first: datetime, last: datetime, limit: int) -> list[datetime]:
    """The last `limit` ticks of those from `first` to `last`, oldest first."""
    found: list[datetime] = []
    tick: datetime | None = last
    while tick is not None and tick >= first and len(found) < limit:
        found.append(tick)
        tick = schedule.last_until(tick - timedelta.resolution)
    return found[::-1]


def _ticks(schedule: Schedule, first: datetime | None, until: datetime) -> Iterator[datetime]:
    tick = first
    while tick is not None and tick <= until:
        yield tick
        tick = schedule.next_after(tick)
