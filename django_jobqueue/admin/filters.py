"""Filters whose choices cost nothing: from settings, the task registry, or one index probe per value. No facets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db import connections
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin.stores import database_of, names_of_stores, store_label, stores
from django_jobqueue.admin.widgets import cut
from django_jobqueue.compat import backend_of
from django_jobqueue.jobs.registry import lookup, registered_names
from django_jobqueue.models import DelayedJob, JobLock, JobPriority

MOST = 100
"""Choices shown by one filter."""


class ChoiceFilter(admin.SimpleListFilter):
    """A column that equals the chosen value. The value in the address is always among the choices, known or not."""

    def names(self, model: Any) -> Iterable[str]:
        """The values to choose from."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.used_parameters.get(str(self.parameter_name), "")
        names = sorted({*self.names(model_admin.model)})[:MOST]
        return [(name, self.label(name)) for name in sorted({*names, *([chosen] if chosen else [])})]

    def label(self, name: str) -> str:
        return cut(name, 60) or "—"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{str(self.parameter_name): value})


class QueueFilter(ChoiceFilter):
    title = _("queue")
    parameter_name = "queue"

    def names(self, model: Any) -> Iterable[str]:
        using = database_of(model)
        backends = [backend_of(queue.alias) for queue in stores() if queue.database == using]
        declared = {name for backend in backends for name in getattr(backend, "queues", None) or ()}
        of_tasks = {getattr(lookup(name).task, "queue_name", "default") for name in registered_names()}
        return declared | of_tasks | set(distinct_values(JobPriority, "queue", using))


class DeadQueueFilter(QueueFilter):
    """The queues that have dead letters; `emails.dlq` is understood too."""

    def names(self, model: Any) -> Iterable[str]:
        return distinct_values(model, "queue", database_of(model))

    def value(self) -> str | None:
        value = super().value()
        return None if value is None else value.removesuffix(".dlq")


class StoreFilter(ChoiceFilter):
    """Where the jobs lived. Not shown where there is only one place."""

    title = _("store")
    parameter_name = "store"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.used_parameters.get(self.parameter_name)
        names = {*names_of_stores(database_of(model_admin.model)), *([] if chosen is None else [chosen])}
        return [(name, cut(store_label(name), 60)) for name in sorted(names)]

    def has_output(self) -> bool:
        return len(self.lookup_choices) > 1


class TaskFilter(ChoiceFilter):
    title = _("task")
    parameter_name = "task"

    def names(self, model: Any) -> Iterable[str]:
        return registered_names()

    def label(self, name: str) -> str:
        module, _dot, function = name.rpartition(".")
        return cut(f"{function} ({module})" if module else name, 80) or "—"


class DeadTaskFilter(TaskFilter):
    """The tasks that have dead letters: many of them are unknown here, that is why they are dead."""

    def names(self, model: Any) -> Iterable[str]:
        return distinct_values(model, "task", database_of(model))


class RoomFilter(admin.SimpleListFilter):
    """Where a job is. Each choice is a probe by primary key into a narrow table."""

    title = _("state")
    parameter_name = "room"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("ready", _("waiting")), ("delayed", _("delayed")), ("running", _("running"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        using = queryset.db
        if self.value() == "ready":
            return queryset.filter(Exists(JobPriority._default_manager.using(using).filter(pk=OuterRef("pk"))))
        if self.value() == "delayed":
            return queryset.filter(Exists(DelayedJob._default_manager.using(using).filter(pk=OuterRef("pk"))))
        if self.value() == "running":  # few: the database starts from them
            return queryset.filter(pk__in=JobLock._default_manager.using(using).filter(name="").values("pk"))
        return queryset


def distinct_values(model: Any, column: str, using: str, limit: int = MOST) -> list[str]:
    """The different values of a column that leads an index, by one probe of that index each."""
    connection = connections[using]
    name, source = (connection.ops.quote_name(part) for part in (column, model._meta.db_table))
    sql = (
        f"WITH RECURSIVE found (value, n) AS (SELECT MIN({name}), 1 FROM {source} UNION ALL "  # noqa: S608
        f"SELECT (SELECT MIN({name}) FROM {source} WHERE {name} > found.value), n + 1 FROM found "
        f"WHERE found.value IS NOT NULL AND n < {int(limit)}) SELECT value FROM found WHERE value IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [str(row[0]) for row in cursor.fetchall()]
