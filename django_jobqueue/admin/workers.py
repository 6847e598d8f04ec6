"""Workers: who is at work, and who has gone silent."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from django_jobqueue.admin import widgets
from django_jobqueue.admin.base import JobQueueAdmin
from django_jobqueue.admin.filters import StoreFilter
from django_jobqueue.admin.operations import Operation
from django_jobqueue.admin.pages import Page, page_url
from django_jobqueue.admin.robust import UNREADABLE, readable
from django_jobqueue.lifecycle.dead_letters import Revival
from django_jobqueue.models import Job, JobLock, WorkerProcess
from django_jobqueue.scheduling.register import STORE as SCHEDULERS
from django_jobqueue.workers import orders

_LEASES_SHOWN = 50
_PERMISSION = "django_jobqueue.change_workerprocess"


def _order(name: str, word: str, **words: Any) -> Operation:
    """An operation that tells workers to be `word`."""
    return Operation(
        name=name,
        permission=_PERMISSION,
        nothing=_("Nobody was told: they are not at work."),
        work=lambda queue, ids, seen: Revival(orders.give(queue, ids, word), {}),
        **words,
    )


QUIET = _order(
    "quiet",
    "quiet",
    label=_("Take no more jobs"),
    done=ngettext_lazy("%(count)d worker takes no more jobs.", "%(count)d workers take no more jobs.", "count"),
    logged=_("Told to take no more jobs."),
)
RESUME = _order(
    "resume",
    "run",
    label=_("Go on"),
    done=ngettext_lazy("%(count)d worker goes on.", "%(count)d workers go on.", "count"),
    logged=_("Told to go on."),
)
STOP = _order(
    "stop",
    "stop",
    label=_("Stop"),
    done=ngettext_lazy("%(count)d worker stops after its job.", "%(count)d workers stop after their jobs.", "count"),
    logged=_("Told to stop."),
    confirm=_("Stop? Only a person or a process manager on its host can start it again."),
    tone="danger",
)


@admin.register(WorkerProcess)
class WorkerAdmin(JobQueueAdmin):
    list_display = ("title", "health", "serves", "done", "failures", "memory", "beat", "started")
    list_filter = ("state", StoreFilter)
    has_store = True
    search_fields = ("name", "host")
    ordering = ("-started_at", "-pk")
    narrow = ("running",)
    actions = ("quiet_selected", "resume_selected", "stop_selected")
    operations = (QUIET, RESUME, STOP)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).exclude(store=SCHEDULERS)  # they take no orders; see the schedules

    def has_order_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(_PERMISSION))

    @admin.action(description=_("Selected workers take no more jobs"), permissions=["order"])
    def quiet_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, QUIET, queryset)

    @admin.action(description=_("Selected workers go on"), permissions=["order"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, RESUME, queryset)

    @admin.action(description=_("Stop selected workers"), permissions=["order"])
    def stop_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, STOP, queryset)

    @admin.display(description=_("worker"))
    def title(self, obj: Any) -> SafeString:
        where = f"{widgets.cut(obj.host, 60)} · {obj.pid}"
        return format_html(
            '<span class="jq-task">{}</span><span class="jq-module">{}</span>', widgets.cut(obj.name, 80) or "—", where
        )

    @admin.display(description=_("state"))
    def health(self, obj: Any) -> SafeString:
        if is_silent(obj):
            return widgets.badge("silent", _t("silent"))
        if obj.state in _WORKING and obj.desired_state in _TOLD and obj.desired_state != obj.state:
            return widgets.badge("stopping", _TOLD[obj.desired_state])
        return widgets.badge(obj.state, obj.get_state_display())

    @admin.display(description=_("queues"))
    def serves(self, obj: Any) -> Any:
        names = [name for name in str(obj.queues).split(",") if name]
        return widgets.words([widgets.cut(name, 40) for name in names[:12]]) if names else _t("all")

    @admin.display(description=_("completed"))
    def done(self, obj: Any) -> str:
        return _count(obj.completed)

    @admin.display(description=_("failed"))
    def failures(self, obj: Any) -> str:
        return _count(obj.failed)

    @admin.display(description=_("memory"))
    def memory(self, obj: Any) -> str:
        return f"{obj.rss_kb / 1024:,.0f} MiB" if widgets.number(obj.rss_kb) else "—"

    @admin.display(description=_("heartbeat"))
    def beat(self, obj: Any) -> Any:
        return widgets.ago(obj.heartbeat_at)

    @admin.display(description=_("started"))
    def started(self, obj: Any) -> Any:
        return widgets.ago(obj.started_at)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        return Page(
            title=self.title(obj),
            badge=self.health(obj),
            lead=format_html(_t("Last heartbeat {}."), widgets.ago(obj.heartbeat_at)),
            facts=[
                (_("Runs now"), _leases(obj)),
                (_("Reported"), widgets.cut(obj.running, 500)),
                (_("Store"), widgets.cut(obj.store, 100)),
                (_("Queues"), self.serves(obj)),
                (_("Completed"), self.done(obj)),
                (_("Failed"), self.failures(obj)),
                (_("Memory"), self.memory(obj)),
                (_("Host"), obj.host),
                (_("Process id"), obj.pid),
                (_("Version"), obj.version),
                (_("Asked to be"), obj.desired_state),
                (_("Started"), widgets.clock(obj.started_at)),
                (_("Last heartbeat"), widgets.clock(obj.heartbeat_at)),
                (_("Believed alive until"), widgets.clock(obj.expires_at)),
                (_("Id"), widgets.code(obj.pk)),
            ],
        )


_WORKING = (WorkerProcess.State.RUNNING, WorkerProcess.State.QUIET)
_TOLD = {"quiet": _("told to be quiet"), "stop": _("told to stop")}


def is_silent(worker: Any) -> bool:
    """Only a reclaim writes `dead`; until then a worker that died is known by its clock."""
    if worker.state not in WorkerProcess.ALIVE:
        return False
    try:
        return bool(worker.expires_at < timezone.now())
    except UNREADABLE:
        return True


def _count(value: Any) -> str:
    return f"{value:,}" if widgets.number(value) is not None else widgets.cut(value, 20)


def _leases(worker: Any) -> SafeString:
    using = worker._state.db
    held = JobLock._default_manager.using(using).filter(worker_id=worker.pk, name="").order_by("claimed_at")
    rows, _bad = readable(held, _LEASES_SHOWN)
    tasks = dict(Job._default_manager.using(using).filter(pk__in=[row.pk for row in rows]).values_list("pk", "task"))
    return format_html_join(
        ", ",
        '<a href="{}">{}</a> ({})',
        (
            (page_url(Job, row.pk), widgets.short_task(tasks.get(row.pk, row.pk)), widgets.since(row.claimed_at))
            for row in rows
        ),
    )
