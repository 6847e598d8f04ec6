"""Which stores there are, which of them a row belongs to, and which database the admin looks at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.utils.translation import gettext as _

from django_jobqueue.compat import backend_of, task_backends
from django_jobqueue.models import DelayedJob, Job
from django_jobqueue.queues.base import Queue


def stores() -> list[Queue]:
    """The queues behind the entries of TASKS that are ours."""
    return _made()[0]


def misconfigured() -> dict[str, str]:
    """Entries of TASKS that should be a store of ours and can't be one, with what is wrong."""
    return _made()[1]


def _made() -> tuple[list[Queue], dict[str, str]]:
    queues, faults = [], {}
    for alias in task_backends:
        backend = backend_of(alias)
        if not hasattr(type(backend), "queue"):
            continue
        try:
            queues.append(backend.queue)
        except (ImproperlyConfigured, ImportError) as error:  # one wrong line of settings must not take all pages away
            faults[alias] = str(error)
    return queues, faults


def database_of(model: Any) -> str:
    """Where the admin reads this model: what the project's router says, unless no store of ours is there."""
    routed: str = router.db_for_read(model)
    ours = [queue.database for queue in stores()]
    return routed if routed in ours or not ours else ours[0]


def queue_for(using: str, store: str = "") -> Queue | None:
    """The store whose rows in this database have this name: the first entry of TASKS that fits."""
    return next((queue for queue in stores() if (queue.database, queue.store) == (using, store)), None)


def store_called(alias: str) -> Queue | None:
    return next((queue for queue in stores() if queue.alias == alias), None)


def names_of_stores(using: str) -> list[str]:
    """What the stores with rows in this database are called there; the database itself, which is "", comes first."""
    return sorted({queue.store for queue in stores() if queue.database == using})


def store_label(store: str) -> str:
    return store or _("database")


def by_store(using: str, objects: Sequence[Any]) -> Mapping[str, list[Any]]:
    """Rows by the store that has to act on them. A job on its way to another store is that one's already."""
    names: dict[Any, str] = {}
    if objects and isinstance(objects[0], Job):
        outbox = DelayedJob._default_manager.using(using).filter(reason=DelayedJob.Reason.OUTBOX)
        names = dict(outbox.filter(pk__in=[one.pk for one in objects]).values_list("pk", "waiting_on"))
    found: dict[str, list[Any]] = defaultdict(list)
    for one in objects:
        found[names.get(one.pk, getattr(one, "store", ""))].append(one)
    return found
