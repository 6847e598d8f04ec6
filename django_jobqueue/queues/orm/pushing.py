"""A push in the tables: what is stored, and which id answers for what is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django_jobqueue import failpoints
from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.orm.dialect import Dialect
from django_jobqueue.queues.orm.rows import JOBS, marks

_TRIES = 5

Insert = Callable[[Sequence[JobPayload], bool], set[UUID]]
"""Stores what is new and gives the ids it stored; the second argument says that all of them are."""


def store(
    dialect: Dialect, payloads: Sequence[JobPayload], insert: Insert, fresh: bool = False, key_prefix: str = ""
) -> list[UUID]:
    """Store jobs in the caller's transaction; for each the id that answers for it, its own or its key's holder's.

    `fresh` as in `Queue.push`; `key_prefix` stands before the unique keys in the table. Raises `EnqueueError`.
    """
    if fresh and len(payloads) == 1 and payloads[0].is_plain:  # as most pushes are; nothing can refuse it
        insert(payloads, True)
        failpoints.hit("enqueue.before_commit")
        return [payloads[0].id]
    first: dict[UUID, JobPayload] = {}
    for payload in payloads:
        first.setdefault(payload.id, payload)
    answers: dict[UUID, UUID] = {}
    for _ in range(_TRIES):
        rest = [payload for payload in first.values() if payload.id not in answers]
        stored = insert(rest, fresh)
        failpoints.hit("enqueue.before_commit")
        answers.update((job_id, job_id) for job_id in stored)
        if len(stored) < len(rest):
            answers.update(_refused(dialect, [one for one in rest if one.id not in stored], key_prefix))
        if len(answers) == len(first):
            return [answers[payload.id] for payload in payloads]
    raise EnqueueError("the holder of a unique key could not be seen: it ended each time it was asked for")


def _refused(dialect: Dialect, payloads: Sequence[JobPayload], key_prefix: str) -> dict[UUID, UUID]:
    """Answers for what was not stored; not for one whose key's holder has just ended: it can be stored now."""
    known = dialect.known_ids(payload.id for payload in payloads)
    repeats = {one.id: one.id for one in payloads if one.id in known or not one.unique_key}
    keys = {one.id: f"{key_prefix}{one.unique_key}" for one in payloads if one.id not in repeats}
    holders = _holders(dialect, list(keys.values()))
    return repeats | {job_id: holders[key] for job_id, key in keys.items() if key in holders}


def _holders(dialect: Dialect, keys: Sequence[str]) -> dict[str, UUID]:
    """The live jobs that hold these unique keys."""
    if not keys:
        return {}
    rows = dialect.rows(f"SELECT unique_key, id FROM {JOBS} WHERE unique_key IN ({marks(len(keys))})", keys)
    holders: dict[str, UUID] = {key: dialect.from_id(job_id) for key, job_id in rows}
    for key in {*keys} - {*holders}:  # equal to another by the database's collation only, or just gone
        for (job_id,) in dialect.rows(f"SELECT id FROM {JOBS} WHERE unique_key = %s", [key]):
            holders[key] = dialect.from_id(job_id)
    return holders
