"""What an operator may do: each with its own permission, by POST only, in chunks, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from django_jobqueue.admin.seen import Seen
from django_jobqueue.admin.stores import by_store, queue_for, store_label
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.lifecycle.dead_letters import Revival, id_chunks
from django_jobqueue.queues.base import Queue

SECONDS = 20.0
"""How long one click may work. A million rows take longer than a web server waits; the next click goes on."""
_REASONS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing an operator may do with rows. `work` gives the ids it was done with, and why not with others.

    It is told what the page showed, for operations that must not reach further.

    `done` is a message with `%(count)d`, `logged` what the audit says of each object.
    """

    name: str
    permission: str
    label: Any
    done: Any
    logged: Any
    work: Callable[[Queue, Sequence[UUID], Seen], Revival]
    nothing: Any = ""
    confirm: Any = ""
    tone: str = ""

    def is_allowed(self, request: HttpRequest) -> bool:
        return request.user.has_perm(self.permission)


@dataclass
class Report:
    """What became of a click."""

    count: int = 0
    refused: dict[UUID, str] = field(default_factory=dict)
    unfinished: bool = False
    out_of_reach: dict[str, str] = field(default_factory=dict)
    """Stores that could not be asked, each with why."""


def perform_on_one(request: HttpRequest, operation: Operation, obj: Any, seen: Seen) -> Report:
    return _collect(request, operation, obj._state.db, iter([[obj]]), seen)


def perform_on_many(
    request: HttpRequest, operation: Operation, rows: QuerySet[Any], seen: Seen, wide: Sequence[str] = ()
) -> Report:
    """On every row of a query, chunk by chunk, as far as the time allows; `wide` columns are not read."""
    plain = rows.model._default_manager.using(rows.db).defer(*wide)
    chunks = (list(plain.filter(pk__in=ids)) for ids in id_chunks(rows))
    return _collect(request, operation, rows.db, chunks, seen)


def perform_in(request: HttpRequest, operation: Operation, queue: Queue, obj: Any, seen: Seen) -> Report:
    """On one job of this store; `obj` stands for it in the audit."""
    report = Report()
    _perform(request, operation, queue, [obj], seen, report)
    _tell(request, operation, report)
    return report


def _collect(request: HttpRequest, operation: Operation, using: str, chunks: Iterator[list[Any]], seen: Seen) -> Report:
    report = Report()
    deadline = time.monotonic() + SECONDS
    for objects in chunks:
        if time.monotonic() > deadline:
            report.unfinished = True
            break
        for store, rows in by_store(using, objects).items():
            queue = queue_for(using, store)
            if queue is not None:
                _perform(request, operation, queue, rows, seen, report)
            else:
                report.out_of_reach.setdefault(store, missing(using, store))
    _tell(request, operation, report)
    return report


def missing(using: str, store: str) -> str:
    """Why nothing can be done with rows of this store."""
    if store:
        return _("No entry of TASKS is the store “%(store)s” any more.") % {"store": store}
    return _("No entry of TASKS uses the database “%(using)s”.") % {"using": using}


def _perform(
    request: HttpRequest, operation: Operation, queue: Queue, objects: Sequence[Any], seen: Seen, report: Report
) -> None:
    """A store that does not answer is not asked again in this click, and does not hold up the others."""
    if queue.store in report.out_of_reach:
        return
    try:
        done = operation.work(queue, [obj.pk for obj in objects], seen)
    except STORE_ERRORS as error:
        words = _("The store “%(store)s” is out of reach, the rest is as it was: %(error)s")
        report.out_of_reach[queue.store] = words % {"store": store_label(queue.store), "error": error}
        return
    _audit(request, operation, objects, done.revived)
    report.count += len(done.revived)
    report.refused.update(done.refused)


def _audit(request: HttpRequest, operation: Operation, objects: Iterable[Any], done: Sequence[UUID]) -> None:
    ids = set(done)
    write_audit(request, [obj for obj in objects if obj.pk in ids], str(operation.logged))


def write_audit(request: HttpRequest, objects: Sequence[Any], words: str) -> None:
    if objects:
        LogEntry.objects.log_actions(request.user.pk, objects, CHANGE, words)  # type: ignore[arg-type]


def _tell(request: HttpRequest, operation: Operation, report: Report) -> None:
    if report.count:
        messages.success(request, operation.done % {"count": report.count})
    elif not report.refused and not report.unfinished and not report.out_of_reach:
        messages.warning(request, operation.nothing)
    for words in report.out_of_reach.values():
        messages.error(request, words)
    for job_id, why in list(report.refused.items())[:_REASONS_SHOWN]:
        messages.warning(request, f"{job_id}: {why}")
    if len(report.refused) > _REASONS_SHOWN:
        rest = len(report.refused) - _REASONS_SHOWN
        messages.warning(request, _("…and %(count)d more like these.") % {"count": rest})
    if report.unfinished:
        messages.warning(request, _("There are more. Run the action again to go on."))
