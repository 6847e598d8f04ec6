"""The next runs of a schedule, on its own clocks and on those of whoever looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from django_jobqueue.admin import widgets
from django_jobqueue.jobs.schedule import Schedule

RUNS = 10


@dataclass
class UpcomingRun:
    """`is_moved`: the clocks of the schedule's zone have changed since the run before."""

    moment: datetime
    here: str
    there: str
    abbreviation: str
    relative: Any
    is_moved: bool = False


@dataclass
class Preview:
    """`problem` says why there are no runs. `viewer` is empty when both clocks show the same."""

    words: str = ""
    zone: str = ""
    viewer: str = ""
    runs: list[UpcomingRun] = field(default_factory=list)
    problem: str = ""
    ends: bool = False


def preview(
    schedule: Schedule,
    now: datetime,
    *,
    viewer: str = "",
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> Preview:
    """The next ten runs after `now` that are not before the start nor after the end."""
    here, name = _zone_of(viewer)
    there = ZoneInfo(schedule.timezone) if schedule.kind in ("cron", "once") else here
    runs: list[UpcomingRun] = []
    starts_at, ends_at = (moment and aware(moment) for moment in (starts_at, ends_at))
    tick = schedule.next_after(now if starts_at is None else max(now, starts_at - datetime.resolution))
    while tick is not None and (ends_at is None or tick <= ends_at) and len(runs) < RUNS:
        local = tick.astimezone(there)
        run = UpcomingRun(tick, _clock(tick, here, local), _clock(tick, there), f"{local:%Z}", widgets.ago(tick, now))
        run.is_moved = (
            bool(runs) and tick.astimezone(there).utcoffset() != runs[-1].moment.astimezone(there).utcoffset()
        )
        runs.append(run)
        tick = schedule.next_after(tick)
    is_same = all(run.moment.astimezone(here).utcoffset() == run.moment.astimezone(there).utcoffset() for run in runs)
    return Preview(
        words=str(schedule),
        zone=name if there is here else str(there),
        viewer="" if is_same else name,
        runs=runs,
        ends=len(runs) < RUNS and schedule.kind != "manual",
    )


def _zone_of(name: str) -> tuple[tzinfo, str]:
    """The viewer's zone as the browser names it, else Django's current one."""
    try:
        if name:
            return ZoneInfo(name), name
    except (ValueError, OSError, LookupError):
        pass
    return timezone.get_current_timezone(), timezone.get_current_timezone_name()


def _clock(moment: datetime, zone: tzinfo, beside: datetime | None = None) -> str:
    """Date and time; beside another clock that shows the same date, the time."""
    local = moment.astimezone(zone)
    time = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return time if beside is not None and beside.date() == local.date() else f"{local:%a %Y-%m-%d} {time}"


def aware(moment: datetime) -> datetime:
    """With USE_TZ off, what forms and rows hold are local times without a zone."""
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment, timezone.get_default_timezone())
