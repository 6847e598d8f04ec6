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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import OperationalError

from django_jobqueue import failpoints
from django_jobqueue.compat import InvalidTaskBackend
from django_jobqueue.exceptions import EnqueueError, StoreUnavailable
from django_jobqueue.jobs.words import some_of
from django_jobqueue.queues.recurring import DueSchedule, ScheduleTable, schedule_table
from django_jobqueue.scheduling.stores import Stores, is_outage
from django_jobqueue.scheduling.work import Templates, TickOutcome, Work

logger = logging.getLogger("django_jobqueue.scheduler")

LIMIT = 1_000
"""Rows one transaction takes."""
JOBS = 2_000
"""And the jobs after which it takes no more: while it lasts all other schedules wait, and so does a request to stop."""
_TRIES = 5


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
