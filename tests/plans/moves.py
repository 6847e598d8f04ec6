"""What workers, schedulers and chores do with a store, move by move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.lifecycle.cleanup import prune_dead_letters, prune_history
from django_jobqueue.models import DelayedJob, RecurringJob, WorkerProcess
from django_jobqueue.queues.base import Move, Settlement
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.orm.outgoing import Outgoing
from django_jobqueue.queues.orm.recurring import OrmScheduleTable
from django_jobqueue.queues.recurring import Written
from tests.queues.hooks import HOUR, LONG_AGO, job, jobs, joined

BATCH = 20
ENDS = (Move.RETRY, Move.SNOOZE, Move.DEAD, Move.CANCELLED, Move.RELEASED)
Step = tuple[str, Callable[[], Any]]
"""The name of a move, and the move. What it needs is made before it is given."""


def moves(queue: OrmQueue) -> Iterator[Step]:
    yield from working(queue)
    yield from waiting(queue)
    yield from dying(queue)
    yield from relaying(queue.database)
    yield from ticking(queue.database)
    yield from pruning(queue.database)


def working(queue: OrmQueue) -> Iterator[Step]:
    worker = joined(queue)
    yield "push", lambda: queue.push(*jobs(BATCH))
    queue.push(*jobs(3 * BATCH))
    held: list[Any] = []
    yield "claim", lambda: held.extend(queue.reserve(["default"], BATCH, worker))
    yield "claim of any", lambda: held.extend(queue.reserve([], BATCH, worker))
    assert len(held) == 2 * BATCH
    yield "settle", lambda: queue.settle([Settlement(one, Move.COMPLETED) for one in held[:BATCH]])
    rest = [Settlement(one, ENDS[n % len(ENDS)], delay=HOUR) for n, one in enumerate(held[BATCH:])]
    yield "settle otherwise", lambda: queue.settle(rest)


def waiting(queue: OrmQueue) -> Iterator[Step]:
    queue.push(*(due := jobs(BATCH, delay=HOUR)))
    DelayedJob.objects.using(queue.database).filter(pk__in=[one.id for one in due]).update(due_at=LONG_AGO)
    yield "promote", queue.promote
    queue.push(late := job(delay=HOUR), one := job())
    yield "run now", lambda: queue.run_now(late.id)
    yield "reprioritize", lambda: queue.reprioritize(one.id, 5)
    yield "cancel", lambda: queue.cancel(one.id)
    yield "find", lambda: (queue.find(late.id), queue.statuses(late.id), queue.peek("default"))
    yield "age", lambda: queue.age("default", HOUR, BATCH)
    yield "next due", lambda: queue._dialect().seconds_to_next_due()


def dying(queue: OrmQueue) -> Iterator[Step]:
    silent, leaver = joined(queue), joined(queue)
    queue.push(*jobs(10))
    queue.reserve(["default"], 5, silent)
    queue.reserve(["default"], 5, leaver)
    yield "heartbeat", lambda: queue.heartbeat(leaver)
    WorkerProcess.objects.using(queue.database).filter(id=silent).update(expires_at=LONG_AGO)
    yield "reclaim", queue.reclaim
    yield "leave", lambda: queue.leave(leaver)


def relaying(database: str) -> Iterator[Step]:
    outgoing = Outgoing(database, "fast")
    payloads = jobs(BATCH)
    ids = [one.id for one in payloads]
    with outgoing.transaction():
        outgoing.put(payloads)
    yield "relay: look", lambda: outgoing.left_behind(0, BATCH)
    with outgoing.transaction():
        yield "relay: take", lambda: outgoing.take(ids)
        yield "relay: over", lambda: outgoing.over(ids)
        yield "relay: remove", lambda: outgoing.remove(ids)


def ticking(database: str) -> Iterator[Step]:
    schedules = OrmScheduleTable(database)
    due = {"task": "t", "kind": "interval", "expression": "1 hour", "due_at": LONG_AGO}
    RecurringJob.objects.using(database).bulk_create(RecurringJob(name=f"due {n}", **due) for n in range(BATCH))
    taken: list[Any] = []
    with schedules.transaction():
        yield "tick: take", lambda: taken.extend(schedules.take(schedules.now(), BATCH))
        later = datetime.now(UTC) + timedelta(days=1)
        rows = [Written(later, later, later, uuid7(), 0, "", one.pk) for one in taken]
        yield "tick: write", lambda: schedules.write(rows)
    yield "tick: next", schedules.seconds_to_next_due


def pruning(database: str) -> Iterator[Step]:
    old = timedelta(days=365)
    yield "prune history", lambda: prune_history(database, old, BATCH, batches=1)
    yield "prune letters", lambda: prune_dead_letters(database, old, BATCH, batches=1)
