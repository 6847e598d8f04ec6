"""Live jobs: what waits, for what, and what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from django_jobqueue.admin import live, queues, widgets
from django_jobqueue.admin.base import JobQueueAdmin
from django_jobqueue.admin.filters import QueueFilter, RoomFilter, TaskFilter
from django_jobqueue.admin.operations import Operation
from django_jobqueue.admin.pages import Event, Page, executions, worker_link
from django_jobqueue.admin.rooms import RoomView, rooms_of
from django_jobqueue.admin.seen import Seen
from django_jobqueue.exceptions import STORE_ERRORS
from django_jobqueue.lifecycle.cancelling import cancel_in
from django_jobqueue.lifecycle.dead_letters import Revival
from django_jobqueue.models import Job
from django_jobqueue.queues.base import Queue


def _cancel(queue: Queue, ids: Sequence[UUID], seen: Seen) -> Revival:
    return _one_by_one(lambda one: bool(cancel_in(queue, one)), ids)


def _kill(queue: Queue, ids: Sequence[UUID], seen: Seen) -> Revival:
    return _one_by_one(lambda one: queue.request_cancel(one, kill=True), ids)


def _run_now(queue: Queue, ids: Sequence[UUID], seen: Seen) -> Revival:
    return _one_by_one(queue.run_now, ids)


def _one_by_one(verb: Callable[[UUID], bool], ids: Sequence[UUID]) -> Revival:
    """What was done before a store stopped answering was done, and is told and written down."""
    done = Revival([], {})
    for one in ids:
        try:
            if verb(one):
                done.revived.append(one)
        except STORE_ERRORS as error:
            if not done.revived:
                raise
            done.refused[one] = str(error)
            break
    return done


CANCEL = Operation(
    name="cancel",
    permission="django_jobqueue.cancel_job",
    label=_("Cancel"),
    done=ngettext_lazy(
        "%(count)d job cancelled, or asked to stop.", "%(count)d jobs cancelled, or asked to stop.", "count"
    ),
    nothing=_("Nothing was cancelled: only jobs that wait or run can be."),
    logged=_("Cancelled, or asked to stop."),
    work=_cancel,
    confirm=_("Cancel? It will not run again. If it runs now, it is asked to stop."),
    tone="danger",
)
KILL = Operation(
    name="kill",
    permission="django_jobqueue.kill_job",
    label=_("Stop by force"),
    done=ngettext_lazy("%(count)d job is stopped by force.", "%(count)d jobs are stopped by force.", "count"),
    nothing=_("Nothing to stop: none of them runs."),
    logged=_("To be stopped by force."),
    work=_kill,
    confirm=_("Stop it by force? What it is doing may stay half done. It will not run again."),
    tone="danger",
)
RUN_NOW = Operation(
    name="run-now",
    permission="django_jobqueue.run_job_now",
    label=_("Run now"),
    done=ngettext_lazy("%(count)d job is ready now.", "%(count)d jobs are ready now.", "count"),
    nothing=_("Nothing to hurry: only jobs with a time to wait for can be made ready."),
    logged=_("Made ready before its time."),
    work=_run_now,
    tone="primary",
)


@admin.register(Job)
class JobAdmin(JobQueueAdmin):
    list_display = ("what", "state", "queue_name", "attempts", "urgency", "enqueued")
    list_filter = (RoomFilter, QueueFilter, TaskFilter)
    search_fields = ("task",)
    search_help_text = _("Job id, or words of the task.")
    ordering = ("-pk",)  # ids are UUIDv7: by age, and the only order a million rows come in for free
    age = "id"
    served = (("queue",), ("task",), ("room",))  # not by an index, but what lives is found however old it is
    actions = ("run_selected_now", "cancel_selected", "kill_selected")
    operations = (RUN_NOW, CANCEL, KILL)
    narrow = ("args",)
    change_list_template = "admin/django_jobqueue/jobs.html"

    def get_urls(self) -> list[URLPattern]:
        return [*queues.urls(self), *super().get_urls()]

    def moved_on(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Jobs of a Redis store have no row, but the audit and old links name them all alike."""
        url = live.outside(request, object_id) if self.has_view_permission(request) else ""
        return HttpResponseRedirect(url) if url else super().moved_on(request, object_id)

    # -- the list ----------------------------------------------------------------------------------------------------

    def columns_of_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return super().columns_of_list(rows.annotate(args_start=Left("args", 400)))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        links = {"queues_url": reverse("admin:django_jobqueue_job_queues")}
        return super().changelist_view(request, {**links, **(extra_context or {})})

    def complete_rows(self, rows: list[Any]) -> None:
        rooms = rooms_of(rows[0]._state.db, [row.pk for row in rows]) if rows else {}
        for row in rows:
            row.room = rooms.get(row.pk, RoomView())

    @admin.display(description=_("job"))
    def what(self, obj: Any) -> SafeString:
        preview = widgets.call_preview(obj.args_start)
        return format_html('{}<span class="jq-args">{}</span>', widgets.task_name(obj.task), preview)

    @admin.display(description=_("state"))
    def state(self, obj: Any) -> SafeString:
        return format_html('{}<span class="jq-state">{}</span>', obj.room.badge, obj.room.words)

    @admin.display(description=_("queue"))
    def queue_name(self, obj: Any) -> SafeString:
        return format_html('<span class="jq-nowrap">{}</span>', widgets.cut(obj.queue, 40))

    @admin.display(description=_("attempt"))
    def attempts(self, obj: Any) -> str:
        return f"{obj.room.attempt}/{obj.max_attempts}"

    @admin.display(description=_("priority"))
    def urgency(self, obj: Any) -> Any:
        return obj.priority

    @admin.display(description=_("enqueued"))
    def enqueued(self, obj: Any) -> Any:
        return widgets.ago(obj.created_at)

    # -- operations on many ------------------------------------------------------------------------------------------

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return CANCEL.is_allowed(request)

    def has_run_now_permission(self, request: HttpRequest) -> bool:
        return RUN_NOW.is_allowed(request)

    @admin.action(description=_("Cancel selected %(verbose_name_plural)s"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, CANCEL, queryset)

    def has_kill_permission(self, request: HttpRequest) -> bool:
        return KILL.is_allowed(request)

    @admin.action(description=_("Stop selected %(verbose_name_plural)s by force"), permissions=["kill"])
    def kill_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, KILL, queryset)

    @admin.action(description=_("Run selected %(verbose_name_plural)s now"), permissions=["run_now"])
    def run_selected_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, RUN_NOW, queryset)

    # -- one job -----------------------------------------------------------------------------------------------------

    def page(self, request: HttpRequest, obj: Any) -> Page:
        using = obj._state.db
        room = rooms_of(using, [obj.pk]).get(obj.pk, RoomView())
        events, bad = executions(using, obj.pk)
        born = Event(_t("Enqueued"), widgets.clock(obj.created_at))
        return Page(
            title=widgets.task_name(obj.task),
            badge=room.badge,
            lead=room.words,
            call=widgets.stored_call(obj.args),
            facts=[
                *_room_facts(using, room),
                (_("Queue"), obj.queue),
                (_("Priority"), obj.priority),
                (_("Attempts"), _t("%(spent)s of %(allowed)s") % {"spent": room.attempt, "allowed": obj.max_attempts}),
                (_("Workers lost"), room.crashes or ""),
                (_("Brought back"), _t("%(times)s times") % {"times": obj.times_retried} if obj.times_retried else ""),
                (_("Timeout"), f"{obj.timeout} s" if obj.timeout is not None else ""),
                (_("Unique key"), widgets.code(obj.unique_key) if obj.unique_key else ""),
                (_("Concurrency key"), widgets.code(obj.concurrency_key) if obj.concurrency_key else ""),
                (_("Enqueued"), widgets.clock(obj.created_at)),
                (_("Job id"), widgets.code(obj.pk)),
            ],
            events=[born, *events, _present(room)],
            unreadable=bad,
        )


def _room_facts(using: str, room: RoomView) -> list[tuple[Any, Any]]:
    return [
        (_("Worker"), worker_link(using, room.worker_id)),
        (_("Running since"), widgets.clock(room.since) if room.kind == "running" else ""),
        (_("Ready since"), widgets.clock(room.since) if room.kind == "ready" else ""),
        (_("Due at"), widgets.clock(room.due_at) if room.due_at else ""),
        (_("Waits for"), room.waiting_on),
    ]


def _present(room: RoomView) -> Event:
    return Event(format_html("{} {}", room.badge, room.words), "", "now")
