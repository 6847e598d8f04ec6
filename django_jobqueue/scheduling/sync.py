"""Declared schedules become rows, when a scheduler starts: added, changed, renamed, retired.

Any number of processes may do so at once: each row is locked while it is changed, a name is unique, and doing it twice
changes nothing, and then locks nothing either, since SQLite has one lock for all. What an operator decided (a pause) is
kept. Of two versions of the code the one wins that is started last, as it does with a deploy; when that one ends, the
last of those that are left says once more what it declares.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from django_jobqueue.compat import InvalidTaskBackend, as_django_tells_it
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.recurring import schedule_table
from django_jobqueue.scheduling.declared import Declared, declared
from django_jobqueue.scheduling.edits import WHEN, plan, rows_of

logger = logging.getLogger("django_jobqueue.scheduler")

CODE, CHORE = RecurringJob.Source.CODE, RecurringJob.Source.CHORE
_SAME = ("task", "args", "kind", "expression", "timezone", "backend")
"""By what a schedule with another name is known again."""

One = TypeVar("One")
Fields = Mapping[str, Any]
"""The columns of a row that code decides on."""


class Synced(NamedTuple):
    """Names, by what was done."""

    added: list[str]
    changed: list[str]
    renamed: list[str]
    retired: list[str]


def sync(database: str) -> Synced:
    """Make the rows in `database` say what the code says. Raises Django's database errors.

    A declaration that can't work is logged, and its row left as it is.
    """
    found = declared()
    for problem in [*found.problems, *found.doubled]:
        logger.error("A schedule is left out: %s", problem)
    here = {name: one.fields() for name, one in found.good.items() if _is_here(one, database)}
    return sync_rows(database, CODE, here, found.broken)


def sync_rows(database: str, source: str, wanted: Mapping[str, Fields], spared: Collection[str] = ()) -> Synced:
    """The rows of one source, in one transaction. Rows called as one in `spared` are left as they are."""
    one = _Sync(database, source, wanted, spared)
    return one.run() if one.is_needed() else Synced([], [], [], [])


def _is_here(one: Declared, database: str) -> bool:
    try:
        return get_queue(one.backend).database == database
    except InvalidTaskBackend:  # told by the checks
        return False


class _Sync:
    def __init__(self, database: str, source: str, wanted: Mapping[str, Fields], spared: Collection[str]) -> None:
        self._database = database
        self._source = source
        self._wanted = wanted
        self._spared = spared
        self._table = schedule_table(database)
        self._done = Synced([], [], [], [])

    def is_needed(self) -> bool:
        """Whether anything is not as the code says. Reads, and waits for nobody."""
        rows = {row.name: row for row in self._rows()}
        if any(self._is_gone(name, row) for name, row in rows.items()):
            return True
        return any(name not in rows or self._differing(rows[name], one) for name, one in self._wanted.items())

    def run(self) -> Synced:
        with self._table.plain_transaction():
            now = self._table.now()
            rows = {row.name: row for row in self._rows().order_by("pk").select_for_update()}
            gone = [row for name, row in rows.items() if self._is_gone(name, row)]
            new = [one for name, one in self._wanted.items() if name not in rows]
            for row, one in _recased(rows, new):
                self._rename(row, one, now)
                gone, new = _without(row, gone), _without(one, new)
            for row, one in _renamed(gone, new):
                self._rename(row, one, now)
                gone, new = _without(row, gone), _without(one, new)
            for row in gone:
                self._retire(row, now)
            for one in new:
                self._add(one, now)
            for name in self._wanted.keys() & rows.keys():
                self._change(rows[name], self._wanted[name], now)
        return self._done

    def _rows(self) -> QuerySet[RecurringJob]:
        """A row somebody made by hand is the code's, once the code declares its name; a chore stays a chore."""
        ours = Q(source=self._source) | Q(name__in=list(self._wanted))
        may_be = Q(source=CHORE) if self._source == CHORE else ~Q(source=CHORE)
        return rows_of(self._database).filter(ours, may_be)

    def _is_gone(self, name: str, row: RecurringJob) -> bool:
        is_ours = row.source == self._source  # MariaDB finds `cafe` for `café`
        return is_ours and row.retired_at is None and name not in self._wanted and name not in self._spared

    def _add(self, one: Fields, now: datetime) -> None:
        row = RecurringJob(source=self._source, **one)
        plan(row, now)
        try:
            with transaction.atomic(using=self._database):
                row.save(using=self._database, force_insert=True)
        except IntegrityError:
            self._tell_of_taken(row.name)
            return
        self._note(self._done.added, row, "added")

    def _tell_of_taken(self, name: str) -> None:
        """Somebody else is at it, or has a name that this database takes for the same (`é` and `e`, `x` and `x `)."""
        taken = rows_of(self._database).filter(name=name).values_list("name", flat=True).first()
        if taken is not None and taken != name:
            logger.error(
                "The schedule %r is left out: there is one called %r, the same for this database.", name, taken
            )

    def _change(self, row: RecurringJob, one: Fields, now: datetime) -> None:
        """Another expression counts from now on: what was due by the old one is not made up for."""
        differing = self._differing(row, one)
        for key, value in differing.items():
            setattr(row, key, value)
        if differing.keys() & set(WHEN):
            plan(row, now)
        if differing:
            row.changed_at = as_django_tells_it(now)
            row.save(using=self._database)
            self._note(self._done.changed, row, "changed")

    def _differing(self, row: RecurringJob, one: Fields) -> dict[str, Any]:
        values = {**one, "source": self._source, "retired_at": None}
        return {key: value for key, value in values.items() if getattr(row, key) != value}

    def _rename(self, row: RecurringJob, one: Fields, now: datetime) -> None:
        logger.info("Schedule %r is called %r now.", row.name, one["name"])
        self._done.renamed.append(one["name"])
        self._change(row, one, now)

    def _retire(self, row: RecurringJob, now: datetime) -> None:
        row.retired_at = row.changed_at = as_django_tells_it(now)
        row.next_run_at = row.due_at = None
        row.save(using=self._database)
        self._note(self._done.retired, row, "retired")

    def _note(self, names: list[str], row: RecurringJob, what: str) -> None:
        names.append(row.name)
        logger.info("Schedule %r was %s.", row.name, what)


def _without(one: One, others: Sequence[One]) -> list[One]:
    return [other for other in others if other is not one]


def _recased(rows: Mapping[str, RecurringJob], new: Sequence[Fields]) -> list[tuple[RecurringJob, Fields]]:
    """Names that differ by capitals only are one name, as some databases see it and as `declared` does."""
    known = {name.casefold(): row for name, row in rows.items()}
    return [(known[one["name"].casefold()], one) for one in new if one["name"].casefold() in known]


def _renamed(gone: Sequence[RecurringJob], new: Sequence[Fields]) -> list[tuple[RecurringJob, Fields]]:
    """One that is gone and one that is new, and all but the names is the same: nobody else it could have been."""
    before = [(tuple(getattr(row, name) for name in _SAME), row) for row in gone]
    after = [(tuple(one[name] for name in _SAME), one) for one in new]
    counts = Counter(key for key, _ in before), Counter(key for key, _ in after)
    known = {key: row for key, row in before if all(count[key] == 1 for count in counts)}
    return [(known[key], one) for key, one in after if key in known]
