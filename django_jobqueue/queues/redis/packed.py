"""What goes to Redis and comes back, but for records of jobs: their states, claims, settlements, ended executions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import NamedTuple
from uuid import UUID

from django_jobqueue.jobs.ids import uuid_of
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.base import NO_ERROR, ErrorRecord, Move, Reservation, Settlement
from django_jobqueue.queues.redis.entries import Entry
from django_jobqueue.queues.redis.records import (
    BEGIN,
    END,
    EPOCH,
    NO_TRAITS,
    PLAIN,
    PLAIN_HEAD,
    Traits,
    moment,
    more_of,
    own_of,
    pack_own,
    pack_record,
    readable_traits,
    unpack_record,
)

MICROSECOND = timedelta(microseconds=1)
PIECE_BYTES = 1024 * 1024

_ASKS = Struct(">I16scdI")
_PLAIN = Struct(">16sb")
_COUNT = Struct(">bI")
_STATE = Struct(">cddbHHcId16s")
_SETTLES = Struct(">I16sIdcd")
_WORDS = Struct(">QQIHIHIIH")
_COMPLETES = Struct(f"{_SETTLES.format}{_WORDS.format[1:]}")
_ENTRY = Struct(f">dc{_STATE.size}sI")
_CLAIMED = Struct(">IcddbHHcId16s16s")
_CLAIMED_PLAIN = Struct(f"{_CLAIMED.format}{PLAIN_HEAD}")
_NUMBERED = Struct(">HH")
_INDEX = Struct(">I")
_NOBODY = bytes(16)

OUTCOMES = {
    b"C": "completed",
    b"X": "cancelled",
    b"Y": "cancelled",
    b"R": "retrying",
    b"S": "snoozed",
    b"D": "failed",
    b"O": "lost",
    b"W": "lost",
}
LETTERS = {
    Move.COMPLETED: b"C",
    Move.CANCELLED: b"X",
    Move.RETRY: b"R",
    Move.SNOOZE: b"S",
    Move.DEAD: b"D",
    Move.RELEASED: b"L",
}


class State(NamedTuple):
    """Where a job is and what it has been through. Times are microseconds since 1970."""

    room: bytes
    ready_at: float
    place: float
    priority: int
    attempt: int
    crashes: int
    reason: bytes
    lease_no: int
    claimed_at: float
    worker: bytes

    @property
    def wait_ms(self) -> int:
        return wait_ms(self.ready_at, self.claimed_at)

    @property
    def worker_id(self) -> UUID | None:
        return None if self.worker == _NOBODY else UUID(bytes=self.worker)


def wait_ms(ready_at: float, claimed_at: float) -> int:
    """From ready to claimed. Garbage, which may be no number, has not waited."""
    waited = claimed_at - ready_at
    return int(waited) // 1_000 if 0 < waited < 1e17 else 0


def microseconds(when: datetime) -> int:
    return (when - EPOCH) // MICROSECOND


_microseconds = lru_cache(maxsize=64)(microseconds)  # a batch was claimed at one moment


# -- jobs --------------------------------------------------------------------------------------------------------------


def pack_push(job: JobPayload) -> bytes:
    """What a push asks for, and the record."""
    record = pack_record(job)
    if job.run_after is not None:
        kind, when = b"@", float(microseconds(job.run_after))
    elif job.delay is not None:
        kind, when = b"+", job.delay * 1e6
    else:
        kind, when = b" ", 0.0
    return _ASKS.pack(len(record), job.id.bytes, kind, when, job.lease_no) + record


def pack_plain(job: JobPayload) -> bytes:
    """What `push_one.lua` is told of a job beside its traits."""
    return _PLAIN.pack(job.id.bytes, job.priority) + own_of(job)


def pack_count(template: JobPayload, count: int) -> bytes:
    """What `push_alike.lua` is told before so many jobs."""
    return _COUNT.pack(template.priority, count)


def pack_alike(template: JobPayload, ids: Iterable[UUID], calls: Iterable[str]) -> list[bytes]:
    """What `push_alike.lua` is told of each job."""
    more, size = more_of(template), _INDEX.pack
    owns = [pack_own(args, more) for args in calls]
    return [job_id.int.to_bytes(16, "big") + size(len(own)) + own for job_id, own in zip(ids, owns, strict=True)]


def unpack_ids(data: bytes) -> list[UUID]:
    return [uuid_of(data[at : at + 16]) for at in range(0, len(data), 16)]


def unpack_state(data: bytes) -> State:
    return State._make(_STATE.unpack_from(data))


def unpack_holders(data: bytes, count: int) -> list[UUID | None]:
    """For each of so many settlements the worker that held the lease; None: it was lost."""
    return [_holder(data[at : at + 16]) for at in range(0, 16 * count, 16)]


def unpack_stopped(data: bytes) -> list[int]:
    """Which settlements ended a job as cancelled, because it had been asked to stop."""
    return [index for (index,) in _INDEX.iter_unpack(data)]


@lru_cache(maxsize=64)
def _holder(worker: bytes) -> UUID | None:
    return None if worker == _NOBODY else uuid_of(worker)


def unpack_traits(data: bytes) -> dict[int, bytes]:
    """What the jobs of an answer have in common, by its numbers."""
    traits, at = {}, 0
    while at < len(data):
        number, size = _NUMBERED.unpack_from(data, at)
        at += _NUMBERED.size + size
        traits[number] = data[at - size : at]
    return traits


def unpack_claimed(piece: bytes, traits: Mapping[int, bytes] = NO_TRAITS) -> Iterator[Reservation]:
    """The jobs of one piece of what `exchange.lua` answers. On the path of every job: no `State` is made."""
    at, readable = 0, readable_traits(traits)
    while at < len(piece):
        (size,) = _INDEX.unpack_from(piece, at)
        end = at + _CLAIMED.size + size
        yield _plain_claimed(piece, at, end, readable) or _claimed(piece, at, end, traits)
        at = end


def _plain_claimed(piece: bytes, at: int, end: int, readable: Mapping[int, Traits]) -> Reservation | None:
    """A job as most are, in one go: no `Record` is made. None for another, and for garbage."""
    begin = at + _CLAIMED_PLAIN.size
    if begin > end:
        return None
    read = _CLAIMED_PLAIN.unpack_from(piece, at)
    _, _, ready_at, _, priority, attempt, crashes, _, lease_no, claimed_at, _, job_id, *record = read
    created, _, _, number, unique_size, flags = record
    traits = readable.get(number)
    if traits is None or unique_size or flags != PLAIN:
        return None
    try:
        args = f"{BEGIN}{piece[begin:end].decode()}{END}"
    except UnicodeDecodeError:
        return None
    queue, task, max_attempts, timeout, crash_budget = traits
    job = uuid_of(job_id), lease_no, attempt, crashes, queue, priority, task, args, max_attempts, timeout, 0
    return Reservation._make((*job, moment(created), moment(claimed_at), wait_ms(ready_at, claimed_at), crash_budget))


def _claimed(piece: bytes, at: int, end: int, traits: Mapping[int, bytes]) -> Reservation:
    size, _, ready_at, _, priority, attempt, crashes, _, lease_no, claimed_at, _, job_id = _CLAIMED.unpack_from(
        piece, at
    )
    record = unpack_record(piece[end - size : end], traits)
    return Reservation(
        uuid_of(job_id),
        lease_no,
        attempt,
        crashes,
        record.queue,
        priority,
        record.task,
        record.args,
        record.max_attempts,
        record.timeout,
        record.times_retried,
        record.created_at,
        moment(claimed_at),
        wait_ms(ready_at, claimed_at),
        record.crash_budget,
    )


# -- settlements and entries -------------------------------------------------------------------------------------------


def _pack_settlement(one: Settlement, with_words: bool) -> bytes:
    """`with_words`: what the worker says is going to be kept."""
    job = one.reservation
    words = _pack_words(one) if with_words else b""
    size, claimed_at = _SETTLES.size - 4 + len(words), _microseconds(job.claimed_at)
    return _SETTLES.pack(size, job.job_id.bytes, job.lease_no, claimed_at, LETTERS[one.move], one.delay * 1e6) + words


def _pack_completed(one: Settlement) -> bytes:
    """As `_pack_settlement`, for most of them by far."""
    job, result = one.reservation, one.result.encode()
    size, claimed_at = _COMPLETES.size - 4 + len(result), _microseconds(job.claimed_at)
    times = one.start_ms, one.run_ms, one.memory_kb
    job_id = job.job_id.int.to_bytes(16, "big")
    return (
        _COMPLETES.pack(size, job_id, job.lease_no, claimed_at, b"C", 0.0, *times, 0, len(result), 0, 0, 0, 0) + result
    )


def pack_settlements(settlements: Sequence[Settlement], kept: Collection[Move]) -> Iterator[bytes]:
    """In pieces, so that neither a client has an argument for each, nor a server one that is too long for it.

    `kept` are the moves of which what the worker says is stored; that is always done when it completed.
    """
    piece: list[bytes] = []
    size = 0
    for one in settlements:
        is_plain = one.move is Move.COMPLETED and one.error is NO_ERROR and not one.reason and not one.delay
        data = _pack_completed(one) if is_plain else _pack_settlement(one, one.move in kept)
        piece.append(data)
        size += len(data)
        if size > PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


def _pack_words(one: Settlement) -> bytes:
    reason, result = one.reason.encode(), one.result.encode()
    texts = [text.encode() for text in one.error]
    sizes = [len(text) for text in texts]
    return b"".join(
        (_WORDS.pack(one.start_ms, one.run_ms, one.memory_kb, len(reason), len(result), *sizes), reason, result, *texts)
    )


class Words(NamedTuple):
    """What a worker said of an execution."""

    start_ms: int = 0
    run_ms: int = 0
    memory_kb: int = 0
    reason: str = ""
    result: str = ""
    error: ErrorRecord = NO_ERROR


def _unpack_words(data: bytes) -> Words:
    if not data:
        return Words()
    start_ms, run_ms, memory_kb, *sizes = _WORDS.unpack_from(data)
    texts, at = [], _WORDS.size
    for size in sizes:
        texts.append(data[at : at + size].decode())
        at += size
    return Words(start_ms, run_ms, memory_kb, texts[0], texts[1], ErrorRecord(*texts[2:]))


def unpack_entry(job_id: UUID, data: bytes, lost: ErrorRecord) -> Entry | None:
    """An ended execution; None for garbage. `lost` is what is said of one whose worker died."""
    try:
        ended, letter, state_bytes, size = _ENTRY.unpack_from(data)
        words = _unpack_words(data[_ENTRY.size : _ENTRY.size + size])
        outcome = OUTCOMES[letter]
        state = unpack_state(state_bytes)
        started = moment(state.claimed_at) + timedelta(milliseconds=words.start_ms) if state.claimed_at else None
        finished = started + timedelta(milliseconds=words.run_ms) if started else None
    except (StructError, UnicodeDecodeError, KeyError, OverflowError):
        return None
    record = unpack_record(data[_ENTRY.size + size :])
    is_lost = letter in b"OWY"
    return Entry(
        job_id=job_id,
        lease_no=state.lease_no,
        attempt=state.attempt,
        crashes=state.crashes,
        queue=record.queue,
        priority=state.priority,
        task=record.task,
        args=record.args,
        max_attempts=record.max_attempts,
        timeout=record.timeout,
        unique_key=record.unique_key,
        concurrency_key=record.concurrency_key,
        times_retried=record.times_retried,
        outcome=outcome,
        dead_reason="worker_lost" if letter == b"W" else words.reason if letter == b"D" else None,
        result=words.result,
        error=lost if is_lost else words.error,
        wait_ms=state.wait_ms + words.start_ms if started else 0,
        run_ms=words.run_ms,
        memory_kb=words.memory_kb,
        worker_id=state.worker_id,
        created_at=record.created_at,
        started_at=started,
        finished_at=moment(ended) if finished is None or not size else finished,
        crash_budget=record.crash_budget,
    )
