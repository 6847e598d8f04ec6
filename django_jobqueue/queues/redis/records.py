"""A job as it stands in Redis. Its head is known to the scripts (see scripts/values.lua), the rest to this file only.

What all jobs of a task have in common, its traits, is most of what a small job would need: a server keeps it once,
under a number, and puts it back when it hands a job out. So this file sees records that have their traits inside.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isnan, nan
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from django_jobqueue.jobs.payload import JobPayload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPRESS_FROM = 1_024
"""Arguments of so many bytes are compressed, when that makes them shorter."""
LONGEST_ARGS = 64 * 1024 * 1024
"""What is unpacked at most, whatever a record claims: it may not have been written by us."""
BEGIN, END = '{"args":[', '],"kwargs":{}}'
"""Around the arguments of a call without names. They are not stored."""

_HEAD = Struct(">ddbHH")
_LENGTH = Struct(">H")
_TRAITS = Struct(">BBHdB")
_SIZE = Struct(">I")
_MORE = Struct(">HH")
_VERSION = 1
NO_TRAITS: Mapping[int, bytes] = {}
_ZLIB, _POSITIONAL, _HAS_MORE = 1, 2, 4
_FLAGS = [bytes((flags,)) for flags in range(2 * _HAS_MORE)]
PLAIN, PLAIN_HEAD = _POSITIONAL, f"{_HEAD.format[1:]}B"
"""What most records have behind their head: only the arguments, of a call without names. And the form up to there."""
_UNREADABLE = (StructError, LookupError, UnicodeDecodeError, ValueError, zlib.error)


class Traits(NamedTuple):
    """What a job has in common with others."""

    queue: str
    task: str
    max_attempts: int
    timeout: float | None
    crash_budget: int | None


class Record(NamedTuple):
    """A job as it was pushed. One that can't be read has no task."""

    created_at: datetime
    queue: str
    priority: int
    task: str
    args: str
    max_attempts: int = 1
    timeout: float | None = None
    unique_key: str | None = None
    concurrency_key: str = ""
    times_retried: int = 0
    crash_budget: int | None = None


@lru_cache(maxsize=256)  # jobs that are claimed together were often pushed together
def moment(microseconds: float) -> datetime:
    """A time that was read. What is none reads as the epoch: it must not stop a batch."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except (OverflowError, ValueError):
        return EPOCH


@lru_cache(maxsize=256)
def _pack_traits(queue: str, task: str, max_attempts: int, timeout: float | None, crash_budget: int | None) -> bytes:
    name = queue.encode()
    seconds = nan if timeout is None else timeout
    return _TRAITS.pack(_VERSION, crash_budget or 0, max_attempts, seconds, len(name)) + name + task.encode()


@lru_cache(maxsize=256)
def _unpack_traits(data: bytes) -> Traits:
    version, budget, max_attempts, timeout, size = _TRAITS.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"version {version}")
    at = _TRAITS.size + size
    queue, task = data[_TRAITS.size : at].decode(), data[at:].decode()
    return Traits(queue, task, max_attempts, None if isnan(timeout) else timeout, budget or None)


def traits_of(job: JobPayload) -> bytes:
    return _pack_traits(job.queue, job.task, job.max_attempts, job.timeout, job.crash_budget)


def own_of(job: JobPayload) -> bytes:
    """What a record ends with: what is not in its head, and not among its traits."""
    return pack_own(job.args, more_of(job))


def more_of(job: JobPayload) -> bytes:
    """What few jobs have; empty for the others."""
    if not (job.concurrency_key or job.times_retried):
        return b""
    key = job.concurrency_key.encode()
    return _MORE.pack(job.times_retried, len(key)) + key


def pack_own(args: str, more: bytes) -> bytes:
    """As `own_of`: the arguments and `more_of` the job."""
    flags, size = 0, b""
    if args.startswith(BEGIN) and args.endswith(END):
        flags, args = _POSITIONAL, args[len(BEGIN) : -len(END)]
    stored = args.encode()
    if COMPRESS_FROM <= len(stored) <= LONGEST_ARGS:
        shorter = zlib.compress(stored, 1)
        if len(shorter) < len(stored):
            flags, size, stored = flags | _ZLIB, _SIZE.pack(len(stored)), shorter
    if more:
        return b"".join((_FLAGS[flags | _HAS_MORE], more, size, stored))
    return _FLAGS[flags] + size + stored


def pack_record(job: JobPayload) -> bytes:
    """A job as it is pushed; the scripts fill in when that was, and its place, and take out its traits."""
    unique, traits = (job.unique_key or "").encode(), traits_of(job)
    head = _HEAD.pack(0.0, 0.0, job.priority, 0, len(unique))
    return b"".join((head, unique, _LENGTH.pack(len(traits)), traits, own_of(job)))


def unpack_record(data: bytes, numbered: Mapping[int, bytes] = NO_TRAITS) -> Record:
    """A job from its record. One that can't be read has no task, so it will be a dead letter, not a stopped worker.

    `numbered` has the traits that are not inside, by their numbers.
    """
    try:
        created, _, priority, number, unique_size = _HEAD.unpack_from(data)
        at = _HEAD.size + unique_size
        unique = data[_HEAD.size : at].decode() if unique_size else None
        if number:
            traits = _unpack_traits(numbered[number])
        else:
            traits, at = _traits_at(data, at)
        flags = data[at]
        at += 1
        times_retried, key = 0, ""
        if flags & _HAS_MORE:
            times_retried, size = _MORE.unpack_from(data, at)
            at += _MORE.size + size
            key = data[at - size : at].decode()
        args = _unpack_args(data, at, flags)
    except _UNREADABLE:
        return Record(EPOCH, "default", 0, "", "")
    queue, task, max_attempts, timeout, budget = traits
    return Record(
        moment(created), queue, priority, task, args, max_attempts, timeout, unique, key, times_retried, budget
    )


def readable_traits(numbered: Mapping[int, bytes]) -> dict[int, Traits]:
    """Those of an answer that can be read, by their numbers."""
    found = {}
    for number, data in numbered.items():
        with suppress(*_UNREADABLE):
            found[number] = _unpack_traits(data)
    return found


def _traits_at(data: bytes, at: int) -> tuple[Traits, int]:
    """They, and where they end."""
    (size,) = _LENGTH.unpack_from(data, at)
    begin = at + _LENGTH.size
    return _unpack_traits(data[begin : begin + size]), begin + size


def task_of(begin: bytes) -> str:
    """The name of the task, from the beginning of a record; empty for garbage."""
    try:
        *_, unique_size = _HEAD.unpack_from(begin)
        return _traits_at(begin, _HEAD.size + unique_size)[0].task
    except _UNREADABLE:
        return ""


def _unpack_args(data: bytes, at: int, flags: int) -> str:
    if flags & ~(_ZLIB | _POSITIONAL | _HAS_MORE):
        raise ValueError("packed in an unknown way")
    args = (_decompressed(data, at) if flags & _ZLIB else data[at:]).decode()
    return f"{BEGIN}{args}{END}" if flags & _POSITIONAL else args


def _decompressed(data: bytes, at: int) -> bytes:
    (size,) = _SIZE.unpack_from(data, at)
    if size > LONGEST_ARGS:
        raise ValueError("too long")
    args = zlib.decompressobj().decompress(data[at + _SIZE.size :], size + 1)
    if len(args) != size:
        raise ValueError("not as long as it was")
    return args
