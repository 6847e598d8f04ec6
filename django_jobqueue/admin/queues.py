"""The queues of every store, and the addresses of what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_jobqueue.admin import live, widgets
from django_jobqueue.admin.robust import UNREADABLE
from django_jobqueue.admin.stores import database_of, misconfigured, stores
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.models import Job, WorkerProcess
from django_jobqueue.queues.base import Queue, QueueStats

if TYPE_CHECKING:
    from django_jobqueue.admin.base import JobQueueAdmin

QUEUES_SHOWN = 100
"""Queues of one store on the page; each costs a look at its first job."""


def urls(model_admin: JobQueueAdmin) -> list[URLPattern]:
    """Of the job admin, before its own: an alias is no job id."""

    def view(name: str, route: str, function: Any, **kwargs: Any) -> URLPattern:
        def wrapped(request: HttpRequest, **found: Any) -> HttpResponse:
            response: HttpResponse = function(model_admin, request, **found, **kwargs)
            return response

        return path(route, model_admin.admin_site.admin_view(wrapped), name=f"django_jobqueue_job_{name}")

    one = "queues/<path:alias>/<uuid:job_id>/"
    actions = [
        view(f"live_{operation.name}", f"{one}{operation.name}/", live.act, operation=operation)
        for operation in model_admin.operations
    ]
    return [
        view("queues", "queues/", overview),
        view("find", "queues/find/", live.find),
        *actions,
        view("live", one, live.live),
    ]


@dataclass
class StoreView:
    """One store on the page. `problem` says why its queues can't be shown."""

    alias: str
    kind: Any = ""
    problem: str = ""
    workers: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    hidden: int = 0


def overview(model_admin: JobQueueAdmin, request: HttpRequest) -> HttpResponse:
    """How much waits where, store by store. One that does not answer says so, and leaves the others alone."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    wrong = [StoreView(alias, problem=problem) for alias, problem in misconfigured().items()]
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        "title": _("Queues"),
        "original": _("Queues"),
        "has_view_permission": True,
        "stores": [*map(_store_view, stores()), *wrong],
        "find_url": live.url_of("find"),
    }
    return TemplateResponse(request, "admin/django_jobqueue/queues.html", context)


def _store_view(queue: Queue) -> StoreView:
    kind = _t("Redis") if queue.store else _t("database %(name)s") % {"name": queue.database}
    view = StoreView(queue.alias, kind)
    try:
        rows = queue.stats()
        view.rows = [_row(queue, row) for row in rows[:QUEUES_SHOWN]]
        view.hidden = len(rows) - len(view.rows)
        view.workers = _workers(queue)
    except STORE_ERRORS as error:
        view.problem = live.no_answer(queue, error)
    except UNREADABLE as error:
        words = _t("A row in the rooms of “%(store)s” can't be read: %(error)s")
        view.problem = words % {"store": queue.alias, "error": widgets.cut(error, 500)}
    return view


def _row(queue: Queue, row: QueueStats) -> dict[str, Any]:
    dead = reverse("admin:django_jobqueue_deadletterjob_changelist")
    jobs = reverse("admin:django_jobqueue_job_changelist")
    is_listed = not queue.store and queue.database == database_of(Job)
    return {
        "name": widgets.cut(row.queue, 60),
        "jobs_url": f"{jobs}?{urlencode({'queue': row.queue})}" if is_listed else "",
        "stats": row,
        "oldest": widgets.duration(row.oldest_ready_s * 1_000) if row.ready else "",
        "first": _next_in_line(queue, row) if row.ready else "",
        "dead_url": f"{dead}?{urlencode({'queue': row.queue, 'store': queue.store})}" if row.dead else "",
    }


def _next_in_line(queue: Queue, row: QueueStats) -> SafeString | str:
    try:
        first = queue.peek(row.queue)
    except UNREADABLE:  # an id that is none
        return "?"
    return widgets.link(live.live_url(queue, first.job_id), widgets.short_task(first.task)) if first else ""


def _workers(queue: Queue) -> str:
    alive = WorkerProcess._default_manager.using(queue.database).filter(
        store=queue.store,
        state__in=WorkerProcess.ALIVE,
        expires_at__gte=timezone.now(),
    )
    count = alive.count()
    return ngettext("%(count)d worker", "%(count)d workers", count) % {"count": count} if count else _t("no worker")
