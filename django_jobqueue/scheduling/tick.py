"""A tick: what is due becomes jobs. One job for each (schedule, tick), with any number of schedulers.

One transaction: the rows that are due are locked, their jobs pushed (into the tables, or into the outbox of a store
that lives elsewhere), and the next ticks written. What becomes of a tick where something can go wrong:

- *Crash, or an outage, before the commit*: nothing has happened, the row is due and whoever comes next does it.
- *Crash after the commit*: the job is stored and the row has moved on. Nobody comes back to this tick: the next one is
  computed from it, and is strictly later, whatever any clock says.
- *The answer to the commit is lost*: it is one of the two. Whoever asks again finds out by doing it again.
- *Two schedulers at once*: one has the lock and the other passes the row over (on SQLite, waits); afterwards it is not
  due any more.
- *Frozen in the transaction*: PostgreSQL and MariaDB give it up after ten seconds, and the rows come free. SQLite has
  no server that could: there everybody waits, as for any writer that stands still.
- *Frozen after the commit, or before the lock*: nobody waits for it; it comes back to rows that have moved on.
- *A pause, an edit, a deletion at the same moment*: before the tick, which then does not find the row due, or after it.
- *One row that can't be done* (its task is not known here, its text is no schedule): an error is written to it, and it
  is tried again later, more and more seldom. The others don't notice. Its ticks are not lost: when it can be done
  again, those within the grace become jobs, and the older ones are missed ones.
- *The same id once more* can't be pushed by a tick, since a row never goes back; the id is a second lock on that, for
  as long as the job is live, dead, or in the history.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import InterfaceError, OperationalError

from django_jobqueue import failpoints
from django_jobqueue.compat import InvalidTaskBackend
from django_jobqueue.decorators import job_fields
from django_jobqueue.exceptions import EnqueueError, JobQueueError, StoreUnavailable
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.jobs.schedule import schedule_of
from django_jobqueue.jobs.words import some_of
from django_jobqueue.lifecycle.errors import clean
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Queue
from django_jobqueue.queues.recurring import DueSchedule, ScheduleTable, Written, schedule_table
from django_jobqueue.scheduling.breaker import Silence
from django_jobqueue.scheduling.ticks import Decision, Misfires, decide, jitter_of, tick_id

logger = logging.getLogger("django_jobqueue.scheduler")

LIMIT = 1_000
"""Rows one transaction takes."""
JOBS = 2_000
"""And the jobs after which it takes no more: while it lasts all other schedules wait, and so does a request to stop."""
HOLD_SECONDS, LONGEST_HOLD = 1.0, 10.0
"""Between two looks at whether the job is done that a tick waits for; a hundredth of the time it has waited."""
FIRST_RETRY, LONGEST_RETRY = 5.0, 300.0
"""Seconds until a row that could not be done is tried again."""
_TRIES = 5
_MAX_ERROR = 2_000
Templates = dict[tuple[str, str, int | None], JobPayload]
"""Jobs by task, queue and priority: what they share is worked out, and checked, once in a transaction."""
_NEVER = Decision([], None, None)
_silence = Silence()
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


class Pass(NamedTuple):
    """One transaction. `chores` are for the scheduler to run, `more`: there is more that is due.

    `missed` are the names of schedules that were looked at too late for some of their ticks.
    """

    outcomes: list[TickOutcome]
    chores: list[str]
    more: bool
    missed: Sequence[str] = ()


def tick(database: str, limit: int = LIMIT, now: datetime | None = None) -> Pass:
    """Push the jobs of up to `limit` schedules in `database` that are due.

    `now` is another moment than the store's, for who wants to know what happens then. Raises Django's database errors,
    and `EnqueueError`: nothing was done then. A deadlock's victim tries again.
    """
    table = schedule_table(database)
    for attempt in range(1, _TRIES + 1):
        try:
            with table.transaction():
                done = _tick(table, database, limit, now or table.now())
                failpoints.hit("tick.before_commit")
            break
        except (OperationalError, EnqueueError) as error:
            cause = error if isinstance(error, OperationalError) else error.__cause__
            if attempt == _TRIES or not isinstance(cause, Exception) or not table.is_deadlock(cause):
                raise
    failpoints.hit("tick.committed")
    if done.missed:
        names = some_of(done.missed)
        logger.warning("Ticks of %d schedules were missed, and followed their policies: %s", len(done.missed), names)
    return done


def _tick(table: ScheduleTable, database: str, limit: int, now: datetime) -> Pass:
    rows = table.take(now, limit)
    if not rows:
        return Pass([], [], False)
    failpoints.hit("tick.taken")
    stores = Stores(database)
    work = _decided(rows, now, stores.alive(rows))
    _push(stores, [one for one in work if one.payloads])
    failpoints.hit("tick.pushed")
    table.write([one.written(now) for one in work])
    chores = [one.row.name for one in work if one.is_chore and one.decision.ticks]
    is_more = len(rows) == limit or len(work) < len(rows)
    missed = [one.row.name for one in work if one.is_late and not one.is_held]
    return Pass([outcome for one in work for outcome in one.outcomes()], chores, is_more, missed)


def _decided(rows: Sequence[DueSchedule], now: datetime, alive: Mapping[UUID, bool | str]) -> list[Work]:
    """The longest due rows, until they have jobs enough for one transaction; the others are still due after it."""
    work: list[Work] = []
    templates = Templates()
    jobs = 0
    for row in rows:
        work.append(Work(row))
        work[-1].decide(now, alive, templates)
        jobs += len(work[-1].payloads)
        if jobs >= JOBS:
            break
    return work


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


class Stores:
    """The stores that rows of one database push to."""

    def __init__(self, database: str) -> None:
        self._database = database

    def of(self, alias: str) -> Queue:
        """Raises `InvalidTaskBackend` for one that such a row can't push to."""
        queue = get_queue(alias)
        if queue.database != self._database:
            raise InvalidTaskBackend(
                f"TASKS[{alias!r}] works with the database {queue.database!r}, and this schedule is in "
                f"{self._database!r}: a job and its schedule must be written in one transaction"
            )
        return queue

    def alive(self, rows: Sequence[DueSchedule]) -> dict[UUID, bool | str]:
        """Whether the previous jobs live, where it matters; in words, why it can't be told."""
        wanted: dict[str, list[UUID]] = defaultdict(list)
        for row in rows:
            if row.overlap != _ALLOW and row.source != _CHORE and row.last_job_id is not None:
                wanted[row.backend].append(row.last_job_id)
        found: dict[UUID, bool | str] = {}
        for alias, job_ids in wanted.items():
            found |= self._alive(alias, job_ids)
        return found

    def _alive(self, alias: str, job_ids: Sequence[UUID]) -> dict[UUID, bool | str]:
        if words := _silence.of(alias):
            return dict.fromkeys(job_ids, words)
        began = time.monotonic()
        try:
            living = self.of(alias).alive(*job_ids)
        except (JobQueueError, InvalidTaskBackend) as error:
            _silence.note(alias, str(error), time.monotonic() - began)
            return dict.fromkeys(job_ids, str(error))
        return {job_id: job_id in living for job_id in job_ids}


def _push(stores: Stores, work: Sequence[Work]) -> None:
    """All jobs of a store at once; if it refuses, one schedule at a time, to find the one that it refuses."""
    by_alias: dict[str, list[Work]] = defaultdict(list)
    for one in work:
        by_alias[one.row.backend].append(one)
    for alias, group in by_alias.items():
        try:
            _push_all(stores, alias, group)
        except (StoreUnavailable, InvalidTaskBackend) as error:  # the same for each of them
            for one in group:
                one.fail(error)
        except Exception as error:
            if is_outage(error):
                raise
            for one in group:
                _push_one(stores, alias, one)


def _push_one(stores: Stores, alias: str, one: Work) -> None:
    try:
        _push_all(stores, alias, [one])
    except Exception as error:
        if is_outage(error):
            raise
        one.fail(error)


def _push_all(stores: Stores, alias: str, group: Sequence[Work]) -> None:
    """In a savepoint, so that a refusal leaves the transaction usable."""
    queue = stores.of(alias)
    with queue.transaction():
        ids = iter(queue.push(*(payload for one in group for payload in one.payloads)))
    for one in group:
        one.job_ids = [next(ids) for _ in one.payloads]


def is_outage(error: BaseException | None) -> bool:
    """Whether the database of the schedules did not answer, or has given the transaction up: it is of no use then."""
    if isinstance(error, StoreUnavailable):  # another store
        return False
    cause = error.__cause__ if isinstance(error, EnqueueError) else error
    return isinstance(cause, OperationalError | InterfaceError)
