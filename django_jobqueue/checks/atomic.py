"""Atomic tasks whose transaction can't hold anything that they write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db import DEFAULT_DB_ALIAS, connections, router

from django_jobqueue.jobs.registry import lookup, registered_names

_OURS = "django_jobqueue"


@register("jobqueue")
def check_atomic_tasks(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """W002: an atomic task whose jobs live in a database that no model of the project is written to.

    What a task writes nobody can know. Where some models are in that database and others are not, nothing is said.
    """
    if len(list(connections)) < 2:
        return []
    written = {router.db_for_write(model) for model in apps.get_models() if model._meta.app_label != _OURS}
    return [
        Warning(
            f"{name} is atomic in the database {database!r}, where its jobs are, and no model of the project is "
            f"written there: what the task writes is not in its transaction.",
            hint="Keep its jobs in the database that it writes to: another entry of TASKS, as backend=… of the task.",
            id="jobqueue.W002",
        )
        for name, database in _atomic_tasks()
        if database in connections and database not in written
    ]


def _atomic_tasks() -> Iterator[tuple[str, str]]:
    """Their names, and in which database each of them is atomic. The settings may be wrong: other checks say so."""
    for definition in map(lookup, registered_names()):
        if definition.atomic:
            entry = getattr(settings, "TASKS", {}).get(definition.task.backend, {})
            options = entry.get("OPTIONS") or {} if isinstance(entry, dict) else {}
            yield definition.name, options.get("database", DEFAULT_DB_ALIAS) if isinstance(options, dict) else ""
