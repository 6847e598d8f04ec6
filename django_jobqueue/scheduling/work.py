"""One row on its way through a tick: what is decided about it, the jobs it becomes, and how it goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.decorators import job_fields
from django_jobqueue.exceptions import StoreUnavailable
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.jobs.schedule import schedule_of
from django_jobqueue.lifecycle.errors import clean
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.recurring import DueSchedule, Written
from django_jobqueue.scheduling.ticks import Decision, Misfires, decide, jitter_of, tick_id

logger = logging.getLogger("django_jobqueue.scheduler")

HOLD_SECONDS, LONGEST_HOLD = 1.0, 10.0
"""Between two looks at whether the job is done that a tick waits for; a hundredth of the time it has waited."""
FIRST_RETRY, LONGEST_RETRY = 5.0, 300.0
"""Seconds until a row that could not be done is tried again."""
_MAX_ERROR = 2_000
Templates = dict[tuple[str, str, int | None], JobPayload]
"""Jobs by task, queue and priority: what they share is worked out, and checked, once in a transaction."""
_NEVER = Decision([], None, None)
_CHORE = str(RecurringJob.Source.CHORE)
_ALLOW, _QUEUE = str(RecurringJob.Overlap.ALLOW), str(RecurringJob.Overlap.QUEUE)


class TickOutcome(NamedTuple):
    """What became of a tick: `dispatched` as a job, `skipped` (the previous job is alive), `held` until that is over,
    or `failed`, and why."""

    name: str
    tick: datetime | None
    job_id: UUID | None
    outcome: str
    error: str = ""


@dataclass
class Work:
    """One row on its way through a tick."""

    row: DueSchedule
    decision: Decision = _NEVER
    payloads: list[JobPayload] = field(default_factory=list)
    job_ids: list[UUID] = field(default_factory=list)
    skipped: list[datetime] = field(default_factory=list)
    is_held: bool = False
    is_late: bool = False
    error: str = ""

    @property
    def is_chore(self) -> bool:
        return self.row.source == _CHORE

    def decide(self, now: datetime, alive: Mapping[UUID, bool | str], templates: Templates) -> None:
        """Whatever is wrong with a row is its own affair: somebody may have written it by hand."""
        row = self.row
        if not row.enabled or row.retired_at is not None:
            return
        try:
            misfires = Misfires("once" if self.is_chore else row.misfire, row.misfire_limit, row.grace)
            schedule = schedule_of(row.kind, row.expression, row.timezone)
            first = row.next_run_at or schedule.next_after(now)
            if first is not None:
                self.decision = decide(schedule, first, now, misfires, row.ends_at)
                self.is_late = not self.is_chore and first < now - timedelta(seconds=row.grace)
            if self.decision.ticks and not self.is_chore:
                self._mind_the_previous(alive, templates)
        except Exception as error:
            self.fail(error)

    def _mind_the_previous(self, alive: Mapping[UUID, bool | str], templates: Templates) -> None:
        """With an overlap policy other than `allow`, there is one job of this schedule at a time."""
        ticks, decided, following = self.decision
        if self.row.overlap != _ALLOW:
            previous = alive.get(self.row.last_job_id, False) if self.row.last_job_id else False
            if isinstance(previous, str):
                raise StoreUnavailable(previous)
            now_possible = 0 if previous else 1
            if self.row.overlap == _QUEUE and len(ticks) > now_possible:
                self.is_held = not now_possible
                decided = ticks[0] if now_possible else None
                following, ticks = ticks[now_possible], ticks[:now_possible]
            else:
                self.skipped, ticks = ticks[now_possible:], ticks[:now_possible]
            self.decision = Decision(ticks, decided, following)
        self.payloads = [_payload(self.row, one, templates) for one in ticks]

    def fail(self, error: Exception) -> None:
        self.decision, self.payloads, self.job_ids, self.skipped = _NEVER, [], [], []
        self.is_late = False
        self.error = clean(f"{type(error).__name__}: {error}", _MAX_ERROR)
        logger.warning("Schedule %r could not be dispatched: %s", self.row.name, self.error)

    def written(self, now: datetime) -> Written:
        """The row as it goes on."""
        row, next_run_at = self.row, self.decision.next
        if self.error:
            failures = min(row.failures + 1, 1_000_000)
            due_at = now + timedelta(seconds=min(FIRST_RETRY * 2 ** min(row.failures, 10), LONGEST_RETRY))
            return Written(row.last_run_at, row.next_run_at, due_at, row.last_job_id, failures, self.error, row.pk)
        return Written(
            last_run_at=self.decision.decided or row.last_run_at,
            next_run_at=next_run_at,
            due_at=now + self._hold(now) if self.is_held else next_run_at,
            last_job_id=self.job_ids[-1] if self.job_ids else row.last_job_id,
            failures=row.failures if self.is_chore else 0,
            last_error=row.last_error if self.is_chore else "",
            pk=row.pk,
        )

    def _hold(self, now: datetime) -> timedelta:
        """Each look is a row written: thousands that wait for hours must not be written each second."""
        waited = (now - self.decision.next).total_seconds() if self.decision.next else 0.0
        return timedelta(seconds=min(max(waited / 100, HOLD_SECONDS), LONGEST_HOLD))

    def outcomes(self) -> list[TickOutcome]:
        name = self.row.name
        if self.error:
            return [TickOutcome(name, self.row.next_run_at, None, "failed", self.error)]
        if self.is_held:
            return [TickOutcome(name, self.decision.next, None, "held")]
        ticks = [] if self.is_chore else self.decision.ticks
        done = [TickOutcome(name, *one, "dispatched") for one in zip(ticks, self.job_ids, strict=True)]
        return done + [TickOutcome(name, one, None, "skipped") for one in self.skipped]


def _payload(row: DueSchedule, moment: datetime, templates: Templates) -> JobPayload:
    after = moment + timedelta(seconds=jitter_of(row.name, moment, row.jitter)) if row.jitter else None
    key = row.task, row.queue, row.priority
    if key not in templates:
        templates[key] = _template(*key)
    template = templates[key]
    return template.again(row.args or template.args, tick_id(row.name, moment), after)


def _template(task: str, queue: str, priority: int | None) -> JobPayload:
    """A job of this task, with the schedule's own queue and priority, if it has them."""
    values = job_fields(lookup(task).task, (), {})
    own = {"queue": queue or values["queue"], "priority": values["priority"] if priority is None else priority}
    return JobPayload(**values | own)
