"""The queue interface: what every store can do, batch first. Values in, values out; no model instances.

A job is in exactly one room: READY, DELAYED or LEASED while it lives, then history or the dead letters. Each verb
moves jobs between rooms, and each move is one transaction (or one script): a crash leaves a job where it was or
where it was going, never in both and never in none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.queues.inspection import Inspector

DEFAULT_LEASE = 30.0
"""Seconds a worker is believed alive after its last heartbeat."""


class Reservation(NamedTuple):
    """A claimed job. `lease_no` fences every later write; `attempt` counts this claim. Times are the store's."""

    job_id: UUID
    lease_no: int
    attempt: int
    crashes: int
    queue: str
    priority: int
    task: str
    args: str
    max_attempts: int
    timeout: float | None
    times_retried: int
    created_at: datetime
    claimed_at: datetime
    wait_ms: int
    crash_budget: int | None = None
    """How many workers it may bring down, where the project's `CRASH_BUDGET` does not count."""


class Move(StrEnum):
    """Where a settlement sends the job."""

    COMPLETED = "completed"
    RETRY = "retry"
    SNOOZE = "snooze"
    RELEASED = "released"
    DEAD = "dead"
    CANCELLED = "cancelled"


class ErrorRecord(NamedTuple):
    """An exception as it is stored: text only, cut to size, free of NUL and lone surrogates."""

    class_path: str = ""
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""


NO_ERROR = ErrorRecord()
WORKER_LOST = ErrorRecord(
    "django_jobqueue.exceptions.WorkerLost", "The worker that ran this job died or was silent for too long."
)
"""What the history says of an execution that nobody ended."""


class Settlement(NamedTuple):
    """What becomes of a reservation. `delay` is seconds from the store's now, for RETRY and SNOOZE.

    COMPLETED and CANCELLED end the job in the history, DEAD in the dead letters with `reason`. SNOOZE and RELEASED
    give the attempt back; RELEASED leaves no trace, because nothing ran. A job that was asked to stop meanwhile (see
    `Queue.request_cancel`) ends CANCELLED whatever is decided but COMPLETED. `start_ms` is how long after its claim the
    job was started, `run_ms` how long it ran.
    """

    reservation: Reservation
    move: Move
    result: str = ""
    error: ErrorRecord = NO_ERROR
    reason: str = ""
    delay: float = 0.0
    start_ms: int = 0
    run_ms: int = 0
    memory_kb: int = 0


class Exchange(NamedTuple):
    """What `exchange` did: which settlements held their lease, and what was reserved.

    `is_member`: False when the store is sure that it doesn't know the worker, which gets nothing until it joins again.
    """

    settled: list[bool]
    reservations: list[Reservation]
    is_member: bool = True


class Room(StrEnum):
    """The three rooms of live jobs."""

    READY = "ready"
    DELAYED = "delayed"
    LEASED = "leased"


class JobSnapshot(NamedTuple):
    """A live job as `find` sees it. DELAYED sets `reason` and `due_at`, LEASED `worker_id` and `claimed_at`."""

    job_id: UUID
    room: Room
    status: JobStatus
    queue: str
    task: str
    args: str
    priority: int
    attempt: int
    lease_no: int
    max_attempts: int
    created_at: datetime
    reason: str = ""
    due_at: datetime | None = None
    worker_id: UUID | None = None
    claimed_at: datetime | None = None
    is_asked_to_stop: bool = False


class QueueStats(NamedTuple):
    """How many jobs of a queue are in each room. `oldest_ready_s`: how long the job next in line has been ready."""

    queue: str
    ready: int = 0
    delayed: int = 0
    running: int = 0
    dead: int = 0
    oldest_ready_s: float = 0.0


class Page(NamedTuple):
    """Some jobs, and where to go on; an empty cursor is the end. A page without jobs need not be the last."""

    ids: list[UUID]
    cursor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Who asks. `id` is new for each start of a worker: a restarted one never inherits the leases of its last life."""

    id: UUID = field(default_factory=uuid7)
    name: str = ""
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    version: str = ""


class WorkerReport(NamedTuple):
    """What a heartbeat carries besides the time."""

    running: str = ""
    completed: int = 0
    failed: int = 0
    rss_kb: int = 0
    stopping: bool = False
    quiet: bool = False

    @property
    def state(self) -> str:
        """`stopping`, `quiet` or `running`, as operators see it: who stops takes no more jobs anyway."""
        return "stopping" if self.stopping else "quiet" if self.quiet else "running"


class Queue(ABC):
    """A store of jobs. `alias` is its key in `TASKS`, `lease` how many seconds a silent worker is believed alive."""

    alias: str
    lease: float
    database: str
    """The database alias with the history and the dead letters."""
    answers_while_we_work: bool = False
    """Whether an exchange mostly waits for a server, so that a worker gains by running jobs meanwhile."""
    settles_in_transactions: bool = False
    """Whether a settlement belongs to the transaction that is open in `database`, and is undone with it."""
    reports_apart: bool = False
    """Whether what operators see of a worker is stored elsewhere than its lease, and may take longer: see `report`."""
    hears_every_push: bool = False
    """Whether `wait` hears of each job that comes into an empty line: who has just worked need not look again."""
    store: str = ""
    """What the tables call this store: empty for jobs that live in `database`, else `alias`."""

    # -- producers ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def push(self, *payloads: JobPayload, fresh: bool = False) -> list[UUID]:
        """Store jobs, all or none, and give their ids in order.

        A payload whose id is known already changes nothing. One whose `unique_key` a live job holds is not stored:
        the id of that job is given in its place. Raises `EnqueueError` when the store could not answer.

        `fresh`: their ids were made for this call and nobody has them, so a store need not look whether it knows one.
        """

    def push_alike(self, template: JobPayload, calls: Sequence[str]) -> list[UUID]:
        """Store a job like `template` for each of these encoded arguments, all or none; their new ids in order.

        As `push` does it, but a store may know that most of such jobs is the same.
        """
        return self.push(*map(template.again, calls), fresh=True)

    @abstractmethod
    def cancel(self, job_id: UUID) -> bool:
        """End a job that waits; it never runs. False when it is running, over, or unknown."""

    @abstractmethod
    def reprioritize(self, job_id: UUID, priority: int) -> bool:
        """Give a waiting job another priority; it goes behind its new equals. False when it does not wait."""

    @abstractmethod
    def age(self, queue: str, seconds: float, limit: int) -> int:
        """Give jobs that have been ready for so long the highest priority that waits in their queue; how many.

        They keep their place, so they go before those that have that priority and came later. The lowest priorities
        are looked at first, `limit` jobs in all.
        """

    @abstractmethod
    def run_now(self, job_id: UUID) -> bool:
        """Make a delayed job ready. False when it is not delayed (a blocked job stays blocked)."""

    @abstractmethod
    def clear(self, queue: str | None = None) -> int:
        """Remove every job that waits, ready or delayed, of one queue or all. Running jobs finish. Gives the number.

        One that has run before is recorded as cancelled; one that has not leaves no trace.
        """

    # -- looking -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def find(self, job_id: UUID) -> JobSnapshot | None:
        """A live job, wherever it is; None when it is over or unknown."""

    def statuses(self, *job_ids: UUID) -> dict[UUID, JobStatus]:
        """How those of these are that live: wait or run, wherever they are. A server is asked once for all of them."""
        found = ((job_id, self.find(job_id)) for job_id in job_ids)
        return {job_id: job.status for job_id, job in found if job is not None}

    def alive(self, *job_ids: UUID) -> set[UUID]:
        """Which of these live."""
        return set(self.statuses(*job_ids))

    def finished(self, job_id: UUID) -> Any:
        """The last execution of a job that is over and that the tables don't know, or don't know yet; else None.

        For stores whose record may be late or left out. An `Entry` of `queues/redis/entries.py`.
        """
        return None

    @abstractmethod
    def peek(self, queue: str = "default") -> JobSnapshot | None:
        """The job next in line, left where it is."""

    @abstractmethod
    def size(self, queue: str | None = None) -> int:
        """Live jobs: ready, delayed and running."""

    @abstractmethod
    def stats(self, queue: str | None = None) -> list[QueueStats]:
        """One row per queue that holds jobs or dead letters, by name. History is never counted."""

    @abstractmethod
    def queue_names(self) -> list[str]:
        """Queues that have ready jobs, by name."""

    @abstractmethod
    def ready_of(self, queue: str, task: str, but: int, cursor: str = "") -> Page:
        """A page of the ready jobs of one task of a queue that have another priority than `but`, in no order.

        Go on with the page's cursor, until that is empty. What moves meanwhile may be left out.
        """

    # -- workers -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def join(self, worker: WorkerIdentity) -> None:
        """Make a worker known. Reserving asks for it."""

    @abstractmethod
    def heartbeat(self, worker: UUID, report: WorkerReport = WorkerReport()) -> bool:  # noqa: B008 (immutable)
        """Extend all leases of a worker by `lease` seconds. False: it was declared dead and must stop."""

    def report(self, worker: UUID, report: WorkerReport) -> None:  # noqa: B027
        """Tell operators how a worker is, where `heartbeat` does not. Nothing depends on it."""

    @abstractmethod
    def leave(self, worker: UUID) -> None:
        """The worker is gone, in good order. Leases it still holds are given back."""

    @abstractmethod
    def exchange(self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int, worker: UUID) -> Exchange:
        """Settle a batch and reserve the next in one transaction: one commit, or one round trip, per batch.

        Due delayed jobs are promoted first. Jobs come from the first queue as long as it has any, then from the next;
        inside a queue by priority, then first in first out. A settlement whose lease number is not the current one
        changes nothing and is reported False. No queues means all of them, in turn.
        """

    @abstractmethod
    def reclaim(self) -> int:
        """Take the leases of dead workers: back to the line, or to the dead letters once the crash budget is spent.

        A lost execution gives its attempt back and counts a crash. Gives the number of jobs moved.
        """

    @abstractmethod
    def promote(self) -> int:
        """Make delayed jobs ready that are due, the oldest first; how many, 0 when none is left.

        A claim does it by itself. This is for a store whose workers have all gone: until somebody does it, its line
        looks empty to whoever decides how many workers there should be.
        """

    def relay(self) -> int:
        """Bring on their way what committed transactions have left behind; how many jobs. `reclaim` does it as well."""
        return 0

    @abstractmethod
    def declare_dead(self, worker: UUID, innocent: Collection[UUID] = ()) -> int:
        """The worker is proved dead: do at once what `reclaim` would do when its lease ends. Gives the jobs moved.

        `innocent`: jobs that it had surely not started. They go back to their places, and no crash is counted.

        May be repeated: a lease is taken once. A worker that lives after all is fenced: its heartbeat is False, its
        settlements of what was taken change nothing, and it gets no more jobs. What another transaction is moving at
        this moment is left to it, or to `reclaim`.
        """

    @abstractmethod
    def leases(self, worker: UUID) -> list[Reservation]:
        """What a worker holds, in the order of the line: the very reservations, rebuilt from the store."""

    @abstractmethod
    def request_cancel(self, job_id: UUID, kill: bool = False) -> bool:
        """Ask a running job to stop; with `kill`, its worker stops it by force. False when it is not running.

        Stored with the lease and gone with it. From here on the job completes or ends as cancelled, nothing else: not
        by a retry, a snooze or a release, by a failure for good, or by a worker that leaves or dies.
        """

    @abstractmethod
    def cancellations(self, *workers: UUID) -> dict[UUID, bool]:
        """Which jobs these workers hold were asked to stop, and whether they are to be killed."""

    @abstractmethod
    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Block until a job may be ready, or `timeout` seconds. True when something woke it. May wake for nothing."""

    def wake(self) -> None:  # noqa: B027 (a store without a channel has nothing to do)
        """End a `wait` of this process at once, from any thread. Used when a worker is told to stop."""

    def server(self) -> dict[str, Any]:
        """How the store's own server is, by name; empty for a store in the project's database. Raises as `stats`."""
        return {}

    def inspector(self, late: float) -> Inspector | None:
        """What looks for faults in this store, `late` seconds being allowed for what is due. None: nothing can."""
        return None

    def bring_in(self) -> None:  # noqa: B027
        """Make ready what was pushed in the transaction that is open. For tests, whose transactions never commit."""

    def close(self) -> None:  # noqa: B027
        """Let go of connections this object opened for itself."""

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction in the database of the dead letters, in which `push` may be called."""
        return transaction.atomic(using=self.database)

    # -- in terms of the others --------------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Make decisions true. False for each whose lease was lost: it changed nothing."""
        return self.exchange(settlements, (), 0, _NOBODY).settled

    def reserve(self, queues: Sequence[str], limit: int, worker: UUID) -> list[Reservation]:
        """Claim up to `limit` ready jobs for a worker that has joined."""
        return self.exchange((), queues, limit, worker).reservations

    def pop(self, queues: Sequence[str], worker: UUID) -> Reservation | None:
        """Claim one job."""
        return next(iter(self.reserve(queues, 1, worker)), None)


_NOBODY = UUID(int=0)
