"""The Redis store. Each move is one script; what ended is then written to the tables, where all stores have their past.

Crash points, in a sentence each: before a script ran nothing has happened; after it the job is where it was going, and
what its rows are made of lies in `unrecorded`; a crash before they are written leaves it there for the next `reclaim`
of any worker; one after they are written and before it is deleted writes them twice, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_bytes
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count

from django_jobqueue import failpoints
from django_jobqueue.conf import DEFAULT_PREFIX, conf
from django_jobqueue.exceptions import EnqueueError, InvalidPayload, JobQueueError
from django_jobqueue.jobs.ids import uuid7s
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.models import DeadLetterJob, DelayedJob
from django_jobqueue.queues.base import (
    DEFAULT_LEASE,
    WORKER_LOST,
    Exchange,
    JobSnapshot,
    Move,
    Page,
    Queue,
    QueueStats,
    Reservation,
    Settlement,
    WorkerIdentity,
    WorkerReport,
)
from django_jobqueue.queues.bell import Bell
from django_jobqueue.queues.inspection import Inspector
from django_jobqueue.queues.redis import packed, records, values
from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.entries import Entry
from django_jobqueue.queues.redis.inspecting import RedisInspector
from django_jobqueue.queues.redis.looks import Looks
from django_jobqueue.queues.redis.outbox import Outbox
from django_jobqueue.queues.redis.pushing import Pusher
from django_jobqueue.queues.redis.recorder import Recorder
from django_jobqueue.queues.redis.register import Register
from django_jobqueue.queues.redis.scripts import Scripts
from django_jobqueue.queues.redis.unrecorded import Unrecorded
from django_jobqueue.queues.redis.waiting import Waiter

LOOK_JOBS = 5_000
"""About so many jobs one script looks at, which others wait for."""
LEFT_BEHIND_SECONDS = 2.0
"""How old an ended execution must be before another worker writes it to the tables."""
RECORD_PAGES = 20
"""How much of what was left behind one `reclaim` writes: 500 ended executions to a page."""
RELAY_LIMIT = 5_000


class RedisQueue(Queue):
    """Jobs on a Redis or Valkey server, their history and dead letters in the database `database`."""

    answers_while_we_work = True
    reports_apart = True
    hears_every_push = True

    def __init__(
        self,
        alias: str,
        connection: Connection,
        database: str = "default",
        lease: float = DEFAULT_LEASE,
        record: str = "all",
        on_commit: str = "outbox",
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        self.alias = self.store = alias
        self.connection = connection
        self.database = database
        self.lease = lease
        self._scripts = Scripts(connection, prefix)
        self._recorder = Recorder(database, alias)
        self._unrecorded = Unrecorded(self._scripts, self._recorder, record)
        self._register = Register(database, alias, lease)
        self._outbox = Outbox(self, on_commit)
        self._waiter = Waiter(connection, self._scripts.channel, Bell())
        self._looks = Looks(self._scripts)
        self._pusher = Pusher(self._scripts)
        self._turn = 0

    # -- producers ---------------------------------------------------------------------------------------------------

    def push(self, *payloads: JobPayload, fresh: bool = False) -> list[UUID]:
        if not payloads:
            return []
        return self._outbox.put(payloads) if self._outbox.takes_over() else self.deliver(payloads)

    def push_alike(self, template: JobPayload, calls: Sequence[str]) -> list[UUID]:
        if len(calls) < 2 or not template.is_plain or self._outbox.takes_over():
            return super().push_alike(template, calls)
        ids = uuid7s(len(calls))
        with self._storing():
            self._pusher.push_alike(template, ids, calls)
        return ids

    def deliver(self, payloads: Sequence[JobPayload]) -> list[UUID]:
        """Push into Redis now, whatever transaction is open. Raises `EnqueueError`, `QueueFull` when memory is."""
        with self._storing():
            return self._pusher.push(payloads)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except EnqueueError:
            raise
        except JobQueueError as error:
            raise EnqueueError(f"the queue {self.alias!r} did not store the job: {error}") from error
        failpoints.hit("enqueue.committed")

    def cancel(self, job_id: UUID) -> bool:
        # A job moves from the outbox to Redis: one that is in neither at first is in the second by now.
        return self._cancel(job_id) or self._outbox.cancel(job_id) or self._cancel(job_id)

    def _cancel(self, job_id: UUID) -> bool:
        is_done = bool(self._scripts.run("cancel", job_id.bytes, self._unrecorded.level, token_bytes(8)))
        if is_done:
            self._unrecorded.record_left_behind(0)
        return is_done

    def knows(self, job_id: UUID, lease_no: int = 0) -> bool:
        """Whether this id has arrived here: it lives, or ended lately, and not by a death at or before this lease."""
        return bool(self._scripts.run("knows", job_id.bytes, lease_no))

    def reprioritize(self, job_id: UUID, priority: int) -> bool:
        if not -100 <= priority <= 100:
            raise InvalidPayload(f"priority must be between -100 and 100, not {priority!r}")
        return bool(self._scripts.run("reprioritize", job_id.bytes, priority))

    def age(self, queue: str, seconds: float, limit: int) -> int:
        return int(self._scripts.run("age", queue, int(seconds * 1e6), min(limit, 1_000)))

    def run_now(self, job_id: UUID) -> bool:
        return bool(self._scripts.run("run_now", job_id.bytes))

    def clear(self, queue: str | None = None) -> int:
        removed, go_on = 0, b"0"
        while go_on != b"":
            count, go_on = self._scripts.run("clear", *_which(queue), self._unrecorded.level, go_on)
            removed += count
        self._unrecorded.record_left_behind(0, 1 + removed // 500)
        return removed

    # -- looking -----------------------------------------------------------------------------------------------------

    def find(self, job_id: UUID) -> JobSnapshot | None:
        # Redis again after the outbox: it may just have got there.
        return self._find(job_id) or self._outbox.find(job_id) or self._find(job_id)

    def _find(self, job_id: UUID) -> JobSnapshot | None:
        found = self._scripts.run("find", job_id.bytes)
        if not found:
            return None
        state, record, due = found
        return values.snapshot(job_id, packed.unpack_state(state), records.unpack_record(record), due)

    def statuses(self, *job_ids: UUID) -> dict[UUID, JobStatus]:
        living = self._statuses(job_ids)
        if rest := [job_id for job_id in job_ids if job_id not in living]:
            living |= dict.fromkeys(self._outbox.holds(rest), JobStatus.PENDING)
            if rest := [job_id for job_id in rest if job_id not in living]:  # they may just have got there
                living |= self._statuses(rest)
        return living

    def _statuses(self, job_ids: Sequence[UUID]) -> dict[UUID, JobStatus]:
        found: dict[UUID, JobStatus] = {}
        for start in range(0, len(job_ids), LOOK_JOBS):
            piece = job_ids[start : start + LOOK_JOBS]
            answers = self._scripts.run("statuses", b"".join(job_id.bytes for job_id in piece))
            known = zip(piece, answers, strict=True)
            found |= {job_id: values.status(packed.unpack_state(state)) for job_id, state in known if state}
        return found

    def peek(self, queue: str = "default") -> JobSnapshot | None:
        found = self._scripts.run("peek", queue)
        if not found:
            return None
        state, job_id, record = found
        return values.snapshot(UUID(bytes=job_id), packed.unpack_state(state), records.unpack_record(record), b"")

    def size(self, queue: str | None = None) -> int:
        return sum(row.ready + row.delayed + row.running for row in self.stats(queue))

    def stats(self, queue: str | None = None) -> list[QueueStats]:
        """What is on its way here counts as delayed."""
        rows = self._live(queue)
        which = {} if queue is None else {"queue": queue}
        outgoing = DelayedJob.objects.using(self.database).filter(
            due_at=None, reason=DelayedJob.Reason.OUTBOX, waiting_on=self.alias, **which
        )
        for name, count in outgoing.order_by().values_list("queue").annotate(n=Count("pk")):
            row = rows.get(name, QueueStats(name))
            rows[name] = row._replace(delayed=row.delayed + count)
        letters = DeadLetterJob.objects.using(self.database).filter(store=self.store, **which)
        for name, dead in letters.order_by().values_list("queue").annotate(n=Count("pk")):
            rows[name] = rows.get(name, QueueStats(name))._replace(dead=dead)
        return [rows[name] for name in sorted(rows)]

    def _live(self, queue: str | None) -> dict[str, QueueStats]:
        flat = self._scripts.run("stats", *_which(queue))
        rows = (values.stats(flat[start : start + 5]) for start in range(0, len(flat), 5))
        return {row.queue: row for row in rows}

    def queue_names(self) -> list[str]:
        return [name.decode() for name in self._scripts.run("queue_names")]

    def ready_of(self, queue: str, task: str, but: int, cursor: str = "") -> Page:
        next_cursor, *flat = self._scripts.run("ready_of", cursor or "0", queue, but)
        found = zip(flat[::2], flat[1::2], strict=True)
        ids = [UUID(bytes=job_id) for job_id, head in found if records.task_of(head) == task]
        return Page(ids, "" if next_cursor == b"0" else next_cursor.decode())

    def server(self) -> dict[str, Any]:
        health = self.connection.health()
        return health._asdict() | {"pool_utilisation": health.pool_utilisation}

    def finished(self, job_id: UUID) -> Entry | None:
        """A job that is over and that the tables don't know, or don't know yet."""
        data = self._scripts.run("finished", job_id.bytes)
        return packed.unpack_entry(job_id, data, WORKER_LOST) if data else None

    def inspector(self, late: float) -> Inspector:
        return RedisInspector(self, self._scripts, self._outbox, late)

    # -- workers -----------------------------------------------------------------------------------------------------

    def join(self, worker: WorkerIdentity) -> None:
        self._scripts.run("heartbeat", worker.id.bytes, self._lease_microseconds, "1")
        self._register.join(worker)
        failpoints.hit("join.committed")

    def heartbeat(self, worker: UUID, report: WorkerReport = WorkerReport()) -> bool:  # noqa: B008 (immutable)
        return bool(self._scripts.run("heartbeat", worker.bytes, self._lease_microseconds, ""))

    def report(self, worker: UUID, report: WorkerReport) -> None:
        self._register.report(worker, report)
        self._register.bury_silent()

    def leave(self, worker: UUID) -> None:
        ended = self._scripts.run("leave", worker.bytes, self._unrecorded.level)
        failpoints.hit("leave.committed")
        self._register.leave(worker)
        if ended:
            self._unrecorded.record_left_behind(0)

    def exchange(self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int, worker: UUID) -> Exchange:
        if not settlements and limit < 1:
            return Exchange([], [])
        if limit > 0 and not queues:
            self._turn += 1
        call = token_bytes(8)
        if not settlements and (few := self._looks.claim_few(queues, limit, worker, call)) is not None:
            failpoints.hit("claim.committed")
            return Exchange([], few)
        words = packed.pack_settlements(settlements, self._unrecorded.kept)
        is_member, due, all_holders, all_stopped, all_traits, *pieces = self._scripts.run(
            "exchange", worker.bytes, limit, self._unrecorded.level, self._turn, call, len(queues), *queues, *words
        )
        failpoints.hit("settle.committed" if settlements else "claim.committed")
        if limit > 0:
            self._looks.heard(due)
        holders = packed.unpack_holders(all_holders, len(settlements))
        stopped = packed.unpack_stopped(all_stopped)
        self._unrecorded.record(_as_settled(settlements, stopped), holders)
        traits = packed.unpack_traits(all_traits)
        jobs = [job for piece in pieces for job in packed.unpack_claimed(piece, traits)]
        return Exchange([holder is not None for holder in holders], jobs, is_member == b"1")

    def reclaim(self) -> int:
        moved, more = 0, True
        while more:
            count, more = self._scripts.run("reclaim", conf().CRASH_BUDGET, self._unrecorded.level)
            moved += count
        failpoints.hit("reclaim.committed")
        self._unrecorded.record_left_behind(0 if moved else LEFT_BEHIND_SECONDS, RECORD_PAGES)
        self.relay()
        return moved

    def promote(self) -> int:
        return int(self._scripts.run("promote"))

    def relay(self) -> int:
        return self._outbox.relay(RELAY_LIMIT)

    def declare_dead(self, worker: UUID, innocent: Collection[UUID] = ()) -> int:
        ids = b"".join(job_id.bytes for job_id in innocent)
        moved: int = self._scripts.run("declare_dead", worker.bytes, conf().CRASH_BUDGET, self._unrecorded.level, ids)
        failpoints.hit("declare_dead.committed")
        self._register.bury(worker)
        if moved:
            self._unrecorded.record_left_behind(0)
        return moved

    def leases(self, worker: UUID) -> list[Reservation]:
        pieces = self._scripts.run("leases", worker.bytes)
        return [job for piece in pieces for job in packed.unpack_claimed(piece)]

    def request_cancel(self, job_id: UUID, kill: bool = False) -> bool:
        is_told = bool(self._scripts.run("request_cancel", job_id.bytes, values.ASKED_TO_STOP[kill]))
        failpoints.hit("request_cancel.committed")
        return is_told

    def cancellations(self, *workers: UUID) -> dict[UUID, bool]:
        flat = self._scripts.run("cancellations", *(worker.bytes for worker in workers)) if workers else ()
        return values.cancellations(flat)

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        rest = self._looks.until_due(timeout)
        return self._waiter.wait(queues, min(timeout, rest)) or rest < timeout

    def bring_in(self) -> None:
        self._outbox.relay(RELAY_LIMIT, older_than=0)

    def wake(self) -> None:
        self._waiter.wake()

    def close(self) -> None:
        self._waiter.close()
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._outbox.always(), transaction.atomic(using=self.database):
            yield

    # -- plumbing ----------------------------------------------------------------------------------------------------

    @property
    def _lease_microseconds(self) -> int:
        return int(self.lease * 1e6)


def _as_settled(settlements: Sequence[Settlement], stopped: Sequence[int]) -> Sequence[Settlement]:
    """What the settlements have become: a job that was asked to stop is cancelled, whatever was decided."""
    if not stopped:
        return settlements
    done = list(settlements)
    for index in stopped:
        done[index] = done[index]._replace(move=Move.CANCELLED)
    return done


def _which(queue: str | None) -> tuple[str, str]:
    return ("0", "") if queue is None else ("1", queue)
