"""Looking for what must not be in Redis. Each slice is one script, so it sees one moment of all keys.

What the tables say of a job is another store's word, and of another moment. A lease number only grows and an end is for
ever: so at the second look the tables are asked first, and what they said then must still fit what Redis says later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from django.utils import timezone

from django_jobqueue.conf import conf
from django_jobqueue.models import DeadLetterJob, JobHistory, WorkerProcess
from django_jobqueue.queues.inspection import Fault, Inspector, Slice, Suspect
from django_jobqueue.queues.redis import packed, records
from django_jobqueue.queues.redis.outbox import Outbox
from django_jobqueue.queues.redis.scripts import Scripts

if TYPE_CHECKING:
    from django_jobqueue.queues.redis.queue import RedisQueue

PIECE = 20
"""Jobs looked at exactly by one script: a line whose order is broken is walked from end to end for each."""
LETTERS = 500
WORKERS = 20
COUNTED = 20_000
"""So many jobs are counted anew by one script when we look: some 20 ms in which the server does nothing else."""
COUNTED_TO_MEND = 200_000
OUTBOX_ROWS = 10_000
_FAULTS = {
    "n": Fault.NO_ROOM,
    "t": Fault.TWO_ROOMS,
    "o": Fault.OVERDUE,
    "d": Fault.DEAD_HOLDER,
    "l": Fault.NOT_LISTED,
    "a": Fault.NOT_ASKED,
    "k": Fault.KEY_NOT_HELD,
    "e": Fault.ENDED_BUT_LIVE,
}
_BY_SCRIPT = {
    *(Fault.NO_ROOM, Fault.TWO_ROOMS, Fault.NO_JOB, Fault.NOT_LISTED, Fault.NOT_ASKED, Fault.NO_LEASE),
    *(Fault.KEY_NOT_HELD, Fault.KEY_OF_NOBODY, Fault.DEAD_HOLDER, Fault.LEASE_BEHIND, Fault.WRONG_COUNT),
}
_BY_RECLAIM = {Fault.DEAD_HOLDER, Fault.UNRECORDED_LATE, Fault.OUTBOX_LATE}
_NOT_CLAIMING = ("quiet", "stop")
T = TypeVar("T")
_ROOMS = {"r": "ready", "d": "delayed", "l": "running"}


class JobSeen(NamedTuple):
    """A live job at one moment. `record` is None for one that has spent neither attempts nor workers."""

    job_id: UUID
    letters: str
    state: packed.State
    record: records.Record | None


class Past(NamedTuple):
    """What the tables know of a job."""

    last_lease: int = 0
    is_over: bool = False


_NO_PAST = Past()


class RedisInspector(Inspector):
    """Reads the jobs of one store."""

    def __init__(self, queue: RedisQueue, scripts: Scripts, outbox: Outbox, late: float) -> None:
        self._queue = queue
        self._scripts = scripts
        self._outbox = outbox
        self._late = late

    # -- looking -----------------------------------------------------------------------------------------------------

    def look(self) -> Iterator[Slice]:
        self._scripts.run("types")
        yield Slice("sums", 1, list(self._wrong_counts()))
        for jobs in self._all_jobs():
            pasts = self._pasts(job.job_id for job in jobs)
            yield Slice("jobs", len(jobs), self._judged(jobs, pasts))
        for where in ("state", "delayed", "unique"):
            yield from self._of_nobody(where)
        for piece in _pieces(self._workers(), WORKERS):
            yield Slice("workers", len(piece), self._not_held(piece))
        yield from self._dead_and_live()
        yield from self._left_behind()

    def look_again(self, suspects: Sequence[Suspect]) -> set[Suspect]:
        by_fault: dict[Fault, list[str]] = defaultdict(list)
        for one in suspects:
            by_fault[one.fault].append(one.key)
        wrong: set[Suspect] = set()
        for fault, keys in by_fault.items():
            wrong.update(self._again(fault, keys))
        return wrong & set(suspects)

    def _again(self, fault: Fault, keys: Sequence[str]) -> Iterable[Suspect]:
        match fault:
            case Fault.NO_JOB:
                return self._rest_again(keys)
            case Fault.KEY_OF_NOBODY:
                return self._keys_again(keys)
            case Fault.NO_LEASE:
                return self._lists_again(keys)
            case Fault.WRONG_COUNT:
                return self._wrong_counts()
            case Fault.UNRECORDED_LATE:
                return self._unrecorded()
            case Fault.OUTBOX_LATE:
                return self._outgoing()
        pieces = _pieces([UUID(key) for key in keys], PIECE)
        return [one for piece in pieces for one in self._jobs_again(piece)]

    def account(self) -> dict[str, int]:
        jobs, ready, delayed, running = self._scripts.run("inspect_sums", 0)[:4]
        return {"jobs": jobs, "ready": ready, "delayed": delayed, "running": running}

    # -- repair ------------------------------------------------------------------------------------------------------

    def can_repair(self, fault: Fault) -> bool:
        return fault in _BY_SCRIPT or fault in _BY_RECLAIM or fault is Fault.OVERDUE

    def repair(self, fault: Fault, suspects: Sequence[Suspect]) -> None:
        if fault is Fault.WRONG_COUNT:
            self._scripts.run("mend", str(fault), COUNTED_TO_MEND)
        elif fault is Fault.OVERDUE:
            for one in suspects:
                self._queue.run_now(UUID(one.key))
        elif fault in _BY_SCRIPT:
            for piece in _pieces([self._case(one) for one in suspects], PIECE):
                self._scripts.run("mend", str(fault), *(word for case in piece for word in case))
        if fault in _BY_RECLAIM:
            self._queue.reclaim()

    def _case(self, one: Suspect) -> tuple[Any, Any]:
        """What the script `mend` is told of one."""
        if one.fault is Fault.NO_LEASE:
            job_id, worker = one.key.split(" of ")
            return UUID(worker).bytes, UUID(job_id).bytes
        if one.fault is Fault.KEY_OF_NOBODY:
            return _bytes(one.key), ""
        job, is_behind = UUID(one.key), one.fault is Fault.LEASE_BEHIND
        return job.bytes, self._pasts([job]).get(job, _NO_PAST).last_lease if is_behind else ""

    # -- jobs --------------------------------------------------------------------------------------------------------

    def _all_jobs(self) -> Iterator[list[JobSeen]]:
        cursor = None
        while cursor != b"0":
            jobs, cursor = self._seen(cursor or b"0")
            yield jobs

    def _seen(self, *which: Any) -> tuple[list[JobSeen], Any]:
        cursor, *flat = self._scripts.run("inspect", int(self._late * 1e6), int(self._queue.lease * 1e6), *which)
        return [_job_seen(*flat[at : at + 4]) for at in range(0, len(flat), 4)], cursor

    def _jobs_again(self, job_ids: Sequence[UUID]) -> list[Suspect]:
        """The tables, Redis, and the letters once more: one that stood there all the time is of a job that lives."""
        letters, pasts = self._letters(job_ids), self._pasts(job_ids)
        jobs, _ = self._seen("-", *(job_id.bytes for job_id in job_ids))
        stayed = {letter[0] for letter in self._letters(job_ids) & letters} if letters else set()
        dead = [_suspect(Fault.DEAD_BUT_LIVE, job.job_id) for job in jobs if job.job_id in stayed]
        return [*self._judged(jobs, pasts), *dead]

    def _judged(self, jobs: Sequence[JobSeen], pasts: dict[UUID, Past]) -> list[Suspect]:
        found = [_suspect(fault, job.job_id) for job in jobs for fault in _faults(job, pasts.get(job.job_id, _NO_PAST))]
        is_late = any(one.fault is Fault.OVERDUE for one in found)
        if is_late and not self._is_somebody_idle():
            return [one for one in found if one.fault is not Fault.OVERDUE]
        return found

    def _pasts(self, job_ids: Iterable[UUID]) -> dict[UUID, Past]:
        history = JobHistory._default_manager.using(self._queue.database).filter(store=self._queue.store)
        rows = history.filter(job_id__in=list(job_ids))
        pasts: dict[UUID, Past] = {}
        for job_id, lease_no, outcome in rows.values_list("job_id", "lease_no", "outcome"):
            last, is_over = pasts.get(job_id, _NO_PAST)
            pasts[job_id] = Past(max(last, lease_no), is_over or outcome in JobHistory.FINAL)
        return pasts

    def _letters(self, job_ids: Sequence[UUID]) -> set[tuple[Any, ...]]:
        letters = DeadLetterJob._default_manager.using(self._queue.database)
        found = letters.filter(store=self._queue.store, pk__in=job_ids).values_list("pk", "lease_no", "failed_at")
        return set(found)

    def _dead_and_live(self) -> Iterator[Slice]:
        letters = DeadLetterJob._default_manager.using(self._queue.database).filter(store=self._queue.store)
        job_ids: list[UUID] = list(letters.order_by("pk").values_list("pk", flat=True)[:LETTERS])
        while job_ids:
            live = [job for piece in _pieces(job_ids, PIECE) for job in self._seen("-", *(i.bytes for i in piece))[0]]
            yield Slice("dead_letters", len(job_ids), [_suspect(Fault.DEAD_BUT_LIVE, job.job_id) for job in live])
            page = letters.filter(pk__gt=job_ids[-1]).order_by("pk")
            job_ids = list(page.values_list("pk", flat=True)[:LETTERS])

    # -- what belongs to jobs ----------------------------------------------------------------------------------------

    def _of_nobody(self, where: str) -> Iterator[Slice]:
        cursor = None
        while cursor != b"0":
            cursor, seen, *fields = self._scripts.run("inspect_rest", where, cursor or b"0")
            yield Slice(f"{where}_entries", seen, [_of_nobody(where, field) for field in fields])

    def _rest_again(self, keys: Sequence[str]) -> Iterator[Suspect]:
        for where in ("state", "delayed"):
            for piece in _pieces(keys, LETTERS):
                ids = [UUID(key).bytes for key in piece]
                fields = self._scripts.run("inspect_rest", where, "-", *ids)[2:]
                yield from (_of_nobody(where, field) for field in fields)

    def _keys_again(self, keys: Sequence[str]) -> Iterator[Suspect]:
        for piece in _pieces(keys, LETTERS):
            fields = self._scripts.run("inspect_rest", "unique", "-", *map(_bytes, piece))[2:]
            yield from (_of_nobody("unique", field) for field in fields)

    def _left_behind(self) -> Iterator[Slice]:
        for what, suspects in (("unrecorded", list(self._unrecorded())), ("outbox", self._outgoing())):
            yield Slice(f"late_{what}", len(suspects), suspects)

    def _unrecorded(self) -> Iterator[Suspect]:
        cursor = None
        while cursor != b"0":
            cursor, *flat = self._scripts.run("unrecorded", cursor or b"0", int(self._late * 1e6))
            yield from (Suspect(Fault.UNRECORDED_LATE, _execution(field)) for field in flat[::2])

    def _outgoing(self) -> list[Suspect]:
        rows = self._outbox.left_behind(self._late, OUTBOX_ROWS)
        return [_suspect(Fault.OUTBOX_LATE, job_id) for job_id in rows]

    # -- workers and numbers -----------------------------------------------------------------------------------------

    def _workers(self) -> list[bytes]:
        together = self._scripts.run("inspect_sums", 0)[4]
        return [together[at : at + 16] for at in range(0, len(together), 16)]

    def _not_held(self, workers: Sequence[bytes]) -> list[Suspect]:
        """What the lists of these workers name and they don't hold."""
        flat = self._scripts.run("inspect_workers", *workers)
        return [
            Suspect(Fault.NO_LEASE, f"{UUID(bytes=ids[at : at + 16])} of {UUID(bytes=worker)}")
            for worker, ids in zip(workers, flat[2::3], strict=True)
            for at in range(0, len(ids) // 16 * 16, 16)
        ]

    def _lists_again(self, keys: Sequence[str]) -> Iterator[Suspect]:
        workers = sorted({UUID(key.split(" of ")[1]).bytes for key in keys})
        for piece in _pieces(workers, WORKERS):
            yield from self._not_held(piece)

    def _is_somebody_idle(self) -> bool:
        """A worker that could have promoted what is due: it takes jobs, is alive, and has none."""
        rows = WorkerProcess._default_manager.using(self._queue.database).exclude(desired_state__in=_NOT_CLAIMING)
        idle = rows.filter(state=WorkerProcess.State.RUNNING, store=self._queue.store, running="")
        fresh = idle.filter(expires_at__gt=timezone.now()).values_list("pk", flat=True)[:1_000]
        for piece in _pieces([job_id.bytes for job_id in fresh], WORKERS):
            flat = self._scripts.run("inspect_workers", *piece)
            if any(rest not in (b"", b"0") and held == 0 for rest, held in zip(flat[::3], flat[1::3], strict=True)):
                return True
        return False

    def _wrong_counts(self) -> Iterator[Suspect]:
        for name in self._scripts.run("inspect_sums", COUNTED)[5:]:
            yield Suspect(Fault.WRONG_COUNT, _count_name(name))


def _job_seen(job_id: bytes, letters: bytes, state: bytes, record: bytes) -> JobSeen:
    return JobSeen(
        UUID(bytes=job_id),
        letters.decode(),
        packed.unpack_state(state),
        records.unpack_record(record) if record else None,
    )


def _faults(job: JobSeen, past: Past) -> set[Fault]:
    state, found = job.state, {_FAULTS[letter] for letter in job.letters}
    is_running = state.room == b"l"
    spent = state.attempt + (0 if is_running else 1)
    if job.record is not None and spent > job.record.max_attempts:
        found.add(Fault.TOO_MANY_ATTEMPTS)
    own = job.record.crash_budget if job.record else None
    if state.crashes >= (conf().CRASH_BUDGET if own is None else own):
        found.add(Fault.TOO_MANY_CRASHES)
    if past.is_over:
        found.add(Fault.ENDED_BUT_LIVE)
    if past.last_lease > state.lease_no - is_running:
        found.add(Fault.LEASE_BEHIND)
    return found


def _suspect(fault: Fault, job_id: UUID) -> Suspect:
    return Suspect(fault, str(job_id))


def _of_nobody(where: str, field: bytes) -> Suspect:
    if where == "unique":
        return Suspect(Fault.KEY_OF_NOBODY, field.decode(errors="surrogateescape"))
    return Suspect(Fault.NO_JOB, str(UUID(bytes=field)))


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


def _execution(field: bytes) -> str:
    """The job and the lease number by which an ended execution is kept."""
    if len(field) != 20:
        return field.hex()
    return f"{UUID(bytes=field[:16])} lease {int.from_bytes(field[16:])}"


def _count_name(name: bytes) -> str:
    """`r:mails` is how many jobs of mails are ready."""
    room, _, queue = name.decode(errors="replace").partition(":")
    return f"{queue} {_ROOMS[room]}" if room in _ROOMS else name.decode(errors="replace")


def _pieces(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
