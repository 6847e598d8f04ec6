"""The pages that are opened: each list, its filters, searches and depths, a page of each row, and what stands apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from django_jobqueue import models

COMMON, RARE = "shop.tasks.task_1", "shop.tasks.task_31"


def addresses() -> Iterator[tuple[str, str]]:
    """A name and an address for each page."""
    yield "index", reverse("admin:index")
    yield "app index", reverse("admin:app_list", args=["django_jobqueue"])
    yield "queues", reverse("admin:django_jobqueue_job_queues")
    for model, queries in LISTS.items():
        for query in queries:
            yield from _list(model, query)
    yield from _rows()
    oldest = models.JobHistory.objects.order_by("pk").values_list("job_id", flat=True).first()
    yield "find a job of the history", f"{reverse('admin:django_jobqueue_job_find')}?id={oldest}"


def _list(model: str, query: dict[str, Any]) -> Iterator[tuple[str, str]]:
    values = {name: value() if callable(value) else value for name, value in query.items()}
    address = reverse(f"admin:django_jobqueue_{model}_changelist")
    yield f"{model} {urlencode(values)}".strip(), f"{address}?{urlencode(values)}" if values else address


def _rows() -> Iterator[tuple[str, str]]:
    """The pages of the first and the last row of each table."""
    for name in LISTS:
        model: Any = models.__dict__[MODELS[name]]
        for which, order in (("first", "pk"), ("last", "-pk")):
            pk = model._default_manager.order_by(order).values_list("pk", flat=True).first()
            yield f"{name}: the {which} one", reverse(f"admin:django_jobqueue_{name}_change", args=[pk])
    job = models.JobLock._default_manager.values_list("pk", flat=True).first()
    yield "job: one that runs", reverse("admin:django_jobqueue_job_change", args=[job])
    letter = models.DeadLetterJob._default_manager.values_list("pk", flat=True).first()
    yield "deadletterjob: edit", reverse("admin:django_jobqueue_deadletterjob_edit_retry", args=[letter])
    schedule = models.RecurringJob._default_manager.values_list("pk", flat=True).first()
    yield "recurringjob: history", reverse("admin:django_jobqueue_recurringjob_history", args=[schedule])
    yield "recurringjob: add", reverse("admin:django_jobqueue_recurringjob_add")


def _days_ago(days: int) -> Any:
    return lambda: (timezone.now() - timedelta(days=days)).isoformat()


def _id_of(model: Any, field: str) -> Any:
    return lambda: model._default_manager.order_by("pk").values_list(field, flat=True).first()


MODELS = {
    "jobhistory": "JobHistory",
    "deadletterjob": "DeadLetterJob",
    "job": "Job",
    "workerprocess": "WorkerProcess",
    "recurringjob": "RecurringJob",
    "jobbatch": "JobBatch",
}
LISTS: dict[str, list[dict[str, Any]]] = {
    "jobhistory": [
        {},
        {"p": 2},
        {"p": 200},
        {"outcome__exact": "completed"},
        {"outcome__exact": "failed"},
        {"outcome__exact": "failed", "p": 100},
        {"outcome__exact": "discarded"},
        {"queue": "default"},
        {"queue": "rare"},
        {"task": COMMON},
        {"task": RARE},
        {"task": RARE, "outcome__exact": "failed", "queue": "rare"},
        {"q": "task_1"},
        {"q": "nothing like it"},
        {"q": _id_of(models.JobHistory, "job_id")},
        {"finished_at__gte": _days_ago(1)},
        {"finished_at__gte": _days_ago(20), "finished_at__lt": _days_ago(19)},
        {"finished_at__gte": _days_ago(20), "finished_at__lt": _days_ago(19), "outcome__exact": "failed"},
        {"finished_at__gte": _days_ago(7), "outcome__exact": "discarded"},
        {"finished_at__lt": _days_ago(29)},
    ],
    "deadletterjob": [
        {},
        {"p": 2},
        {"p": 200},
        {"queue": "default"},
        {"queue": "rare"},
        {"task": COMMON},
        {"task": RARE},
        {"task": COMMON, "error_class": "builtins.ValueError"},
        {"error_class": "shop.errors.Refused"},
        {"error_class": "no.such.error"},
        {"reason__exact": "exhausted"},
        {"reason__exact": "expired"},
        {"reason__exact": "expired", "queue": "default"},
        {"q": "refused"},
        {"q": "nothing like it"},
        {"q": _id_of(models.DeadLetterJob, "pk")},
        {"failed_at__gte": _days_ago(7)},
        {"failed_at__gte": _days_ago(20), "failed_at__lt": _days_ago(19)},
    ],
    "job": [
        {},
        {"p": 2},
        {"p": 200},
        {"room": "ready"},
        {"room": "delayed"},
        {"room": "running"},
        {"room": "delayed", "queue": "rare"},
        {"queue": "default"},
        {"queue": "rare"},
        {"task": COMMON},
        {"task": RARE},
        {"task": "no.such.task"},
        {"room": "running", "task": RARE},
        {"q": "task_1"},
        {"q": "nothing like it"},
        {"q": _id_of(models.Job, "pk")},
    ],
    "workerprocess": [{}, {"state__exact": "running"}, {"state__exact": "dead"}, {"q": "host1"}],
    "recurringjob": [{}, {"p": 2}, {"state": "failing"}, {"state": "late"}, {"source": "admin"}, {"q": "nothing"}],
    "jobbatch": [{}, {"q": "nothing"}],
}
