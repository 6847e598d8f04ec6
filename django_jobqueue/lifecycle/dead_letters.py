"""What an operator does with dead letters: find them, bring them back, or let them go.

Every move is one transaction per chunk: the letter is locked, deleted, and its job pushed under the same id with the
next lease number. So of fifty who press *retry* at once, one brings the job back and the others find nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone

from django_jobqueue import failpoints
from django_jobqueue.conf import conf
from django_jobqueue.exceptions import EnqueueError, InvalidPayload, JobNotFound
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import is_registered, lookup
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import Queue

CHUNK = 500
"""Dead letters moved by one transaction."""
DLQ_SUFFIX = ".dlq"
_MAX_SMALLINT = 32_767
_MAX_INT = 2_147_483_647


class Revival(NamedTuple):
    """What a retry did: the ids that will run again, and why each of the others stays dead."""

    revived: list[UUID]
    refused: dict[UUID, str]


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Dead letters that died alike."""

    queue: str
    task: str
    error_class: str
    reason: str
    count: int
    first_failed_at: datetime
    last_failed_at: datetime


# -- looking -----------------------------------------------------------------------------------------------------------


def source_queue(name: str) -> str:
    """The queue whose dead letter queue this is: `emails` for `emails.dlq`, and for `emails` itself."""
    return name.removesuffix(DLQ_SUFFIX)


def failed_jobs(
    using: str,
    *,
    store: str | None = None,
    queue: str | None = None,
    task: str | None = None,
    reason: str | None = None,
    error_class: str | None = None,
    since: datetime | None = None,
) -> QuerySet[DeadLetterJob]:
    """The dead letters in the database `using`, narrowed down.

    `store` is a queue's `store`: empty for the jobs of the database itself. `queue` may be given as `emails` or
    `emails.dlq`, `error_class` with its module or without, `since` is compared with the time of death.
    """
    letters = DeadLetterJob._default_manager.using(using)
    if store is not None:
        letters = letters.filter(store=store)
    if queue is not None:
        letters = letters.filter(queue=source_queue(queue))
    if task is not None:
        letters = letters.filter(task=task)
    if reason is not None:
        letters = letters.filter(reason=reason)
    if error_class is not None:
        short = Q() if "." in error_class else Q(error_class__endswith=f".{error_class}")
        letters = letters.filter(short | Q(error_class=error_class))
    if since is not None:
        letters = letters.filter(failed_at__gte=since)
    return letters


def letters_of(queue: Queue, /, **filters: Any) -> QuerySet[DeadLetterJob]:
    """The dead letters of one store, narrowed down as in `failed_jobs`."""
    return failed_jobs(queue.database, store=queue.store, **filters)


def statistics(using: str, *, latest: int | None = None, **filters: Any) -> list[LetterGroup]:
    """Dead letters by queue, task, error and reason, the largest group first.

    With `latest`, only so many of the most recent are looked at: the cost stays the same however many there are.
    """
    letters = failed_jobs(using, **filters)
    by = ("queue", "task", "error_class", "reason")
    if latest is not None:
        groups = _fold(letters.order_by("-failed_at").values_list(*by, "failed_at")[:latest])
    else:
        counted = letters.order_by().values_list(*by)
        groups = [
            LetterGroup(*row) for row in counted.annotate(n=Count("pk"), first=Min("failed_at"), last=Max("failed_at"))
        ]
    return sorted(groups, key=lambda group: (-group.count, group.task, group.error_class, group.queue))


def _fold(rows: Iterable[tuple[Any, ...]]) -> list[LetterGroup]:
    times: dict[tuple[str, str, str, str], list[datetime]] = defaultdict(list)
    for queue, task, error_class, reason, failed_at in rows:
        times[queue, task, error_class, reason].append(failed_at)
    return [LetterGroup(*group, len(dead), min(dead), max(dead)) for group, dead in times.items()]


# -- retry -------------------------------------------------------------------------------------------------------------


def retry(
    queue: Queue, ids: Iterable[UUID], *, lease_no: int | None = None, died_before: datetime | None = None
) -> list[UUID]:
    """Bring dead letters back, with all their attempts; the ids of those that will run again.

    An id that is no dead letter (any more) is passed over, so a second click changes nothing. One whose `unique_key`
    a live job holds stays dead; `revive` tells which, and why. `lease_no` narrows to letters that died under that
    lease, `died_before` to those that died at that moment or before: a click on an old page does not bring back a job
    that has run and died again since.
    """
    return revive(queue, ids, lease_no=lease_no, died_before=died_before).revived


def revive(
    queue: Queue, ids: Iterable[UUID], *, lease_no: int | None = None, died_before: datetime | None = None
) -> Revival:
    """As `retry`, and why each letter that was refused stays dead."""
    whole = Revival([], {})
    for chunk in _chunks(ids):
        done = _revive(queue, chunk, lease_no=lease_no, died_before=died_before)
        whole.revived.extend(done.revived)
        whole.refused.update(done.refused)
    return whole


def retry_all(queue: Queue, /, **filters: Any) -> int:
    """Bring back every letter of this store that matches (see `failed_jobs`); how many. May be stopped and repeated."""
    return sum(len(done.revived) for done in revive_all(queue, **filters))


def revive_all(queue: Queue, /, **filters: Any) -> Iterator[Revival]:
    """As `retry_all`, chunk by chunk."""
    return (_revive(queue, chunk) for chunk in id_chunks(letters_of(queue, **filters)))


def retry_edited(
    queue: Queue, letter_id: UUID, args: Sequence[Any], kwargs: Mapping[str, Any], *, lease_no: int | None = None
) -> UUID:
    """Bring one dead letter back with other arguments.

    Raises `PayloadError` for arguments that can't be stored, `SignatureMismatch` when the task does not take them
    (not checked when this process doesn't know the task), `JobNotFound` when it is no dead letter (any more), and
    `EnqueueError` when it has to stay one.
    """
    text = encode_call(args, kwargs, conf().MAX_PAYLOAD_BYTES)
    letter = letters_of(queue).filter(pk=letter_id).only("task").first()
    if letter is not None and is_registered(letter.task):
        lookup(letter.task).bind(args, kwargs)
    done = _revive(queue, [letter_id], args=text, lease_no=lease_no)
    if letter_id in done.refused:
        raise EnqueueError(done.refused[letter_id])
    if not done.revived:
        raise JobNotFound(f"{letter_id} is not among the dead letters: it was retried or discarded meanwhile")
    return letter_id


def _revive(
    queue: Queue,
    ids: Sequence[UUID],
    *,
    args: str | None = None,
    lease_no: int | None = None,
    died_before: datetime | None = None,
) -> Revival:
    """One chunk in one transaction."""
    done = Revival([], {})
    with queue.transaction():
        payloads: dict[UUID, JobPayload] = {}
        letters = _locked(queue, ids, lease_no, died_before)
        for letter in letters:
            try:
                payloads[letter.id] = _payload(letter, args)
            except InvalidPayload as error:  # a row that was written by hand
                done.refused[letter.id] = str(error)
        letters_of(queue).filter(pk__in=list(payloads)).delete()
        for payload, given in zip(payloads.values(), queue.push(*payloads.values()), strict=True):
            if given == payload.id and _is_stored(queue, payload):
                done.revived.append(payload.id)
            else:
                done.refused[payload.id] = _refusal(payload, given)
        letters_of(queue).bulk_create([one for one in letters if one.id in done.refused and one.id in payloads])
        failpoints.hit("revive.before_commit")
    failpoints.hit("revive.committed")
    return done


def _is_stored(queue: Queue, payload: JobPayload) -> bool:
    """A push answers for ids that are over, and for unique keys whose holder has just ended: only the job is proof."""
    return queue.find(payload.id) is not None


def _refusal(payload: JobPayload, given: UUID) -> str:
    if given == payload.id:
        return "a job with its id has ended since, so it can't run again"
    return f"its unique key {payload.unique_key!r} is held by the live job {given}"


def _payload(letter: DeadLetterJob, args: str | None) -> JobPayload:
    return JobPayload(
        id=letter.id,
        task=letter.task,
        args=letter.args if args is None else args,
        queue=letter.queue,
        priority=letter.priority,
        max_attempts=letter.max_attempts,
        timeout=letter.timeout,
        crash_budget=letter.crash_budget,
        unique_key=letter.unique_key,
        concurrency_key=letter.concurrency_key,
        lease_no=letter.lease_no,
        times_retried=min(letter.times_retried + 1, _MAX_SMALLINT),
    )


# -- discard -----------------------------------------------------------------------------------------------------------


def discard(queue: Queue, ids: Iterable[UUID]) -> int:
    """Let dead letters go: to the history as `discarded`, arguments kept, never to run again. Gives their number."""
    return len(let_go(queue, ids))


def let_go(
    queue: Queue, ids: Iterable[UUID], *, lease_no: int | None = None, died_before: datetime | None = None
) -> list[UUID]:
    """As `discard`, and which they were. Narrowed down as in `retry`."""
    return [letter_id for chunk in _chunks(ids) for letter_id in _discard(queue, chunk, lease_no, died_before)]


def discard_all(queue: Queue, /, **filters: Any) -> int:
    """Let go of every letter of this store that matches (see `failed_jobs`). May be stopped and repeated."""
    return sum(len(_discard(queue, chunk)) for chunk in id_chunks(letters_of(queue, **filters)))


def _discard(
    queue: Queue, ids: Sequence[UUID], lease_no: int | None = None, died_before: datetime | None = None
) -> list[UUID]:
    with queue.transaction():
        letters = _locked(queue, ids, lease_no, died_before)
        now = timezone.now()
        JobHistory._default_manager.using(queue.database).bulk_create(
            [_discarded(letter, now) for letter in letters], ignore_conflicts=True
        )
        letters_of(queue).filter(pk__in=[letter.id for letter in letters]).delete()
    return [letter.id for letter in letters]


def _discarded(letter: DeadLetterJob, now: datetime) -> JobHistory:
    return JobHistory(
        job_id=letter.id,
        lease_no=min(letter.lease_no + 1, _MAX_INT),  # a number of its own: the last lease has its own row
        attempt=letter.attempt,
        queue=letter.queue,
        task=letter.task,
        args=letter.args,
        priority=letter.priority,
        outcome=JobHistory.Outcome.DISCARDED,
        error_class=letter.error_class,
        error_message=letter.error_message,
        enqueued_at=letter.enqueued_at,
        finished_at=now,
        store=letter.store,
    )


# -- chunks ------------------------------------------------------------------------------------------------------------


def id_chunks(rows: QuerySet[Any], size: int = CHUNK) -> Iterator[list[UUID]]:
    """The primary keys of all these rows in pieces, by key, so that each piece costs the same.

    It ends at the greatest id of the moment it begins: jobs that die meanwhile don't keep it going.
    """
    keys = rows.values_list("pk", flat=True)
    last: UUID | None = keys.order_by("-pk").first()
    if last is None:
        return
    rest = keys.filter(pk__lte=last).order_by("pk")
    chunk: list[UUID] = list(rest[:size])
    while chunk:
        yield chunk
        chunk = list(rest.filter(pk__gt=chunk[-1])[:size])


def _chunks(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    ordered = sorted(set(ids))
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))


def _locked(
    queue: Queue, ids: Sequence[UUID], lease_no: int | None = None, died_before: datetime | None = None
) -> list[DeadLetterJob]:
    """The letters among these ids, locked in order of their ids, so that two chunks never wait for each other."""
    letters = letters_of(queue).select_for_update().filter(pk__in=ids)
    if lease_no is not None:
        letters = letters.filter(lease_no=lease_no)
    if died_before is not None:
        letters = letters.filter(failed_at__lte=died_before)
    return list(letters.order_by("pk"))
